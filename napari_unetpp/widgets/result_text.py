"""What came of a fine-tuning, as rich text."""

from __future__ import annotations

from napari_unetpp.training.messages import EARLIER, HELD_OUT, Result


def result_text(result: Result) -> str:
    """Before and after as rich text, a column for each head, the best in bold."""
    lines = [f"<p>{result.verdict.sentence}</p>"]
    for kind, told in ((HELD_OUT, "held out"), (EARLIER, "earlier")):
        before, after = result.before.get(kind, {}), result.after.get(kind, {})
        rows = [[told, *before], ["before", *map(_figure, before.values())]]
        rows.append(["after", *(_figure(after.get(head)) for head in before)])
        if before:
            best = rows[0].index(result.verdict.head) if result.verdict.head in rows[0] else -1
            cells = (
                "".join(
                    f"<td align='right'>{f'<b>{cell}</b>' if n == best else cell}&nbsp;&nbsp;</td>"
                    for n, cell in enumerate(row)
                )
                for row in rows
            )
            lines.append(f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>")
    return "".join(lines)


def _figure(iou: float | None) -> str:
    """Heads that the new version doesn't have get a dash."""
    return "–" if iou is None else f"{iou:.2f}"
