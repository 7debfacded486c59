"""What came of a fine-tuning, as rich text."""

from __future__ import annotations

from html import escape

from napari_unetpp.training.messages import EARLIER, HELD_OUT, Result


def result_text(result: Result, was: str = "before", now: str = "after") -> str:
    """Two rows of figures as rich text, a column for each head, the best in bold."""
    lines = [f"<p>{escape(result.verdict.sentence)}</p>"]
    for kind, told in ((HELD_OUT, "held out"), (EARLIER, "earlier")):
        before, after = result.before.get(kind, {}), result.after.get(kind, {})
        heads = sorted(before.keys() | after.keys(), key=lambda head: int(head.removeprefix("L")))
        rows = [[told, *heads]]
        for name, figures in ((was, before), (now, after)):
            rows.append([escape(name), *(_figure(figures.get(head)) for head in heads)])
        if heads:
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
    """Heads that one of the two doesn't have get a dash."""
    return "–" if iou is None else f"{iou:.2f}"
