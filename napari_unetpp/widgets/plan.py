"""What the user wants to have trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from napari_unetpp.models.spec import Normalisation
from napari_unetpp.network.architecture import Architecture
from napari_unetpp.widgets.lesson import Lesson

NOTHING = (
    "There is nothing to learn from yet: correct a mask with the brush or mark it as checked, or "
    "paint a layer of your own and choose it as Masks under Fine-tune."
)


@dataclass(frozen=True, kw_only=True)
class NewModel:
    """A model to train from nothing, the first of a family of its own.

    Attributes
    ----------
    name, classes, architecture, widths, heads
        As in `FinetuneOptions`.
    """

    name: str
    classes: tuple[str, ...]
    architecture: Architecture
    widths: tuple[int, ...]
    heads: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to fine-tune, and how.

    Attributes
    ----------
    model : str
        Name in the store.
    lineage : str
        Its family: corrections of others are not for it.
    lesson : Lesson
        What is right in the masks.
    minutes, depth, start, device, normalisation
        As in `FinetuneTask`.
    new : NewModel, optional
        What to make instead of a version of the model.
    """

    model: str
    lineage: str
    lesson: Lesson
    minutes: float
    depth: int | None
    start: Literal["model", "nothing"]
    device: str
    normalisation: Normalisation | None
    new: NewModel | None = None

    def making(self, new: NewModel, minutes: float) -> Plan:
        """The same, for a new model."""
        return replace(self, new=new, minutes=minutes, start="nothing", depth=None)
