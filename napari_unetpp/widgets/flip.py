"""Before and after, one click apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from napari.layers import Layer

Side = Literal["before", "after"]


class Flip:
    """Two groups of layers of which one is shown.

    Parameters
    ----------
    before, after : iterable of Layer
        The groups; painted layers may be in them, nothing but visibility is changed.
    """

    def __init__(self, before: Iterable[Layer] = (), after: Iterable[Layer] = ()) -> None:
        self.before, self.after = list(before), list(after)

    @property
    def ready(self) -> bool:
        """Whether there is something on both sides."""
        return bool(self.before and self.after)

    def turn(self) -> None:
        """Show the other side."""
        shown = any(layer.visible for layer in self.after)
        self.show("before" if shown else "after")

    def show(self, side: Side) -> None:
        """Show one side and hide the other."""
        if not self.ready:
            return
        for layer in (*self.before, *self.after):
            layer.visible = layer in (self.before if side == "before" else self.after)

    def forget(self, layer: Layer) -> None:
        """A layer is gone."""
        self.before = [other for other in self.before if other is not layer]
        self.after = [other for other in self.after if other is not layer]
