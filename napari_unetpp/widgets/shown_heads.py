"""Which result layers are shown: as a run shows them, until the user wants it otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from napari_unetpp.widgets.result_layer import ResultLayer


class ShownHeads:
    """Shows and hides layers.

    Outlined heads are seen through each other. Where planes are too large for outlines they are
    filled, and several on one another mix to grey: of those just the first, which is there soonest,
    and the deepest that is wanted are shown while a run goes on, and the deepest alone in the end.

    Parameters
    ----------
    layers : mapping of str to ResultLayer
        By key, as they are at any time.
    heads : sequence of str
        The keys of all heads, like "L1".
    changed : callable
        Called when a layer was shown or hidden, by whomever.
    """

    def __init__(
        self, layers: Mapping[str, ResultLayer], heads: Sequence[str], changed: Callable[[], None]
    ) -> None:
        self._layers, self._heads, self._changed = layers, heads, changed
        self._goal = heads[-1]
        self._untouched: set[str] = set()  # layers of heads that the user neither showed nor hid
        self._arranging = False

    @property
    def visible(self) -> dict[str, bool]:
        """By key, whether a layer is shown."""
        return {key: bool(made.layer.visible) for key, made in self._layers.items()}

    def aim(self, depth: int | None) -> None:
        """A run to this head begins; None is the deepest."""
        self._goal = self._heads[-1] if depth is None else f"L{depth}"
        for key in self._arranged():
            if self.is_aside(key) and not self._layers[key].is_outlined:
                self._arrange(key, visible=False)

    def come(self, key: str) -> None:
        """More of a head is there: one that was hidden is drawn with that, and not before."""
        if key in self._untouched and not self.is_aside(key):
            self._arrange(key, visible=True)

    def is_aside(self, key: str) -> bool:
        """Whether a head that a run comes to is hidden at first, if heads are filled."""
        return key not in (self._heads[0], self._goal)

    def watch(self, made: ResultLayer, *, untouched: bool) -> None:
        """There is a new layer, made by a run, or else because the user wants it."""
        made.layer.events.visible.connect(self._on_visible)
        if untouched:
            self._untouched.add(made.key)

    def watch_no_more(self, made: ResultLayer) -> None:
        """A layer is gone, or is left alone from now on."""
        made.layer.events.visible.disconnect(self._on_visible)
        self._untouched.discard(made.key)

    def hide(self, *keys: str) -> None:
        """Hide these layers, or all."""
        for key in keys or list(self._layers):
            if key in self._layers:
                self._layers[key].layer.visible = False

    def solo(self, key: str) -> None:
        """Show one head alone; once more, and all heads are back."""
        heads = [k for k in self._heads if k in self._layers]
        alone = [k for k in heads if self._layers[k].layer.visible] == [key]
        if key in heads:
            for head in heads:
                self._layers[head].layer.visible = alone or head == key

    def end(self) -> None:
        """A run came to its end: of filled heads the deepest hides the others."""
        deepest = self._layers.get(self._goal)
        if deepest is None or deepest.is_outlined or not deepest.layer.visible:
            return
        for key in self._arranged():
            if key != self._goal:
                self._arrange(key, visible=False)

    def _arranged(self) -> list[str]:
        """The heads up to the goal that the user left as they were, and has no brush in."""
        heads = self._heads[: self._heads.index(self._goal) + 1]
        return [
            key for key in heads if key in self._untouched and not _is_painted(self._layers[key])
        ]

    def _arrange(self, key: str, *, visible: bool) -> None:
        layer = self._layers[key].layer
        if layer.visible != visible:  # napari would read and draw it anew all the same
            self._arranging = True
            layer.visible = visible
            self._arranging = False

    def _on_visible(self, event: Any) -> None:
        if not self._arranging:
            self._untouched -= {
                key for key, made in self._layers.items() if made.layer is event.source
            }
        self._changed()


def _is_painted(made: ResultLayer) -> bool:
    """Whether the user painted a layer, or is about to."""
    return made.painted or str(made.layer.mode) != "pan_zoom"
