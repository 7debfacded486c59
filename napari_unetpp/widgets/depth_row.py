"""The row of depths, with what was measured of each in its tooltip."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from qtpy.QtWidgets import QWidget

from napari_unetpp.evaluation.remembered import Remembered
from napari_unetpp.widgets.choice_row import ChoiceRow


class DepthRow(ChoiceRow):
    """Choose how deep the network runs.

    Parameters
    ----------
    preferred : str
        What to begin with, where a model has it.
    parent : QWidget, optional
        As in Qt.
    """

    def __init__(self, preferred: str, parent: QWidget | None = None) -> None:
        super().__init__([preferred], parent=parent)
        self._of: Hashable = None

    def offer(self, heads: Sequence[str], remembered: Remembered | None, of: Hashable) -> None:
        """Have a button for each head.

        What is chosen stays, or becomes the deepest if it isn't there. But where `of` says that
        it is for another model or device now, the head that the user took there is chosen.
        """
        self.set_choices(heads, [_tip(head, remembered) for head in heads])
        if of != self._of and remembered is not None and remembered.chosen:
            self.take(remembered.chosen)
        self._of = of

    def take(self, head: str) -> None:
        """Choose a head; for the ensemble that is the deepest."""
        self.value = head if head in self.choices else self.choices[-1]


def _tip(head: str, remembered: Remembered | None) -> str:
    tip = f"Run the network to head {head}"
    row = None if remembered is None else remembered.row(head)
    if remembered is None or row is None:
        return tip
    depths = remembered.depths
    unit = "megapixel" if depths.dims == 2 else "megavoxel"
    time = f"{row.cost.milliseconds_per_megapixel:,.0f} ms/{unit} on {depths.device}"
    taken = "; you took it" if head == remembered.chosen else ""
    return f"{tip}: {time}, measured on {remembered.when[:10]}{taken}"
