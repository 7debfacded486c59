"""Which part of an image is segmented: a view, a plane or volume, or the whole stack."""

from __future__ import annotations

from math import prod

from qtpy.QtWidgets import QWidget

from napari_unetpp.inference.layout import Dims, Layout
from napari_unetpp.widgets.choice_row import ChoiceRow

_WORDS = {
    2: {
        "view": "What is on screen; of an image in several sizes, in the size shown",
        "plane": "The plane on screen, whole",
        "stack": "Every plane, this one first",
    },
    3: {
        "view": "What is on screen, all along Z",
        "volume": "The volume on screen, whole",
        "stack": "Every volume, this one first",
    },
}
"""By the dimensions of the model."""
SOON = 1 << 24
"""Pixels that are segmented without asking: more of them only where the user says so."""


class WhereRow(ChoiceRow):
    """Choose a part of an image.

    Parameters
    ----------
    parent : QWidget, optional
        As in Qt.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(list(_WORDS[2]), list(_WORDS[2].values()), parent)
        self.value = "plane"

    def show_words(self, dims: Dims) -> None:
        """Those for a model of planes or volumes."""
        words = _WORDS[dims]
        if self.choices != list(words):
            self.set_choices(list(words), list(words.values()))
            self.value = list(words)[1]

    def offer(self, layout: Layout) -> None:
        """A stack is offered where there is one."""
        stack = layout.outer_axes != ""
        self.button("stack").setEnabled(stack)
        if not stack and self.value == "stack":
            self.value = self.choices[1]

    def suggest(self, layout: Layout) -> None:
        """All of a small image; of a larger one a plane, or what is on screen."""
        view, piece, stack = self.choices
        if prod(layout.spatial_shape) > SOON:
            self.value = view
        elif layout.outer_axes and prod(layout.result_shape) <= SOON:
            self.value = stack
        else:
            self.value = piece
