"""What a model says about itself, as rich text."""

from __future__ import annotations

from html import escape

from napari_unetpp.errors import UserError
from napari_unetpp.models import ModelSpec, Store
from napari_unetpp.models.spec import FINE_TUNED, HistoryEntry


def model_text(spec: ModelSpec) -> str:
    """A model in a few lines; what a foreign file says of itself is escaped."""
    lines = [
        f"<b>{escape(spec.name)}</b>: {escape(spec.description)}",
        f"Finds {escape(', '.join(spec.classes))} in {spec.dims}D images of {spec.in_channels} "
        "channel(s).",
        f"{spec.architecture.in_words()}; heads {spec.heads_in_words}, "
        f"widths {', '.join(map(str, spec.widths))}.",
    ]
    if spec.origin or spec.licence:
        origin, licence = escape(spec.origin or "unknown data"), escape(spec.licence or "unknown")
        lines.append(f"From {origin}; licence {licence}.")
    lines.extend(escape(_told(entry)) for entry in spec.history)
    return "<br>".join(lines)


def history_text(store: Store, name: str) -> str:
    """All versions of a model's family, each with where it comes from and what it scored.

    Raises
    ------
    UserError
        If there is no such model, or its file is damaged.
    """
    family = store.lineage(name)
    lines = [f"The family of <b>{escape(name)}</b>:"]
    for other in store.names():
        try:
            spec = store.spec(other)
            related = store.lineage(other) == family
        except UserError:
            continue  # a damaged file says nothing
        if related:
            told = _told(spec.history[-1]) if spec.history else "no history."
            mark = f"<b>{escape(other)}</b>" if other == name else escape(other)
            lines.append(f"{mark}: {escape(told)}")
    return "<br>".join(lines)


def _told(entry: HistoryEntry) -> str:
    when = entry.when[:16].replace("T", " ")
    if entry.action != FINE_TUNED and not entry.corrections:
        scores = ", ".join(f"{k} {v:.3f}" for k, v in entry.scores.get("heads", {}).items())
        return f"{when}: {entry.action}{f', IoU {scores}' if scores else ''}."
    count = len(entry.corrections)
    planes = f"{count} corrected plane{'s' * (count != 1)}"
    seconds, device = entry.settings.get("seconds", 0), entry.settings.get("device", "")
    verdict = str(entry.scores.get("verdict", "")).rstrip(".")
    origin = entry.parent_name if entry.action == FINE_TUNED else "nothing"
    return (
        f"{when}: {entry.action} from {origin} on {planes}, {seconds:.0f} s on {device}. {verdict}."
    )
