"""The layers of one image and model: filled while the network runs, re-thresholded live."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_unetpp.inference.heads import Heads, disagreement_of, mask_of, mean_of
from napari_unetpp.inference.layout import Index, Region
from napari_unetpp.inference.room import not_written
from napari_unetpp.widgets.coverage import Coverage
from napari_unetpp.widgets.filling import FillQueue
from napari_unetpp.widgets.geometry import METADATA_KEY, index_on_screen
from napari_unetpp.widgets.making import make_layer
from napari_unetpp.widgets.result_layer import DERIVED, Block, ResultLayer
from napari_unetpp.widgets.shown_heads import ShownHeads
from napari_unetpp.widgets.sources import Sources


class Results(QObject):
    """Result layers that show `Heads`.

    Parameters
    ----------
    viewer : ViewerModel
        Where the layers go.
    image : Image
        What was segmented, or lies on it.
    sources : Sources
        The layers that were segmented.
    heads : Heads
        Filled by the worker.
    provenance : dict
        What makes the heads: enough to run it again.
    parent : QObject, optional
        As in Qt.

    Attributes
    ----------
    shown : ShownHeads
        Shows and hides the layers.
    """

    changed = Signal()
    """A layer came or went, was shown or hidden, or another head was computed."""
    painted = Signal(str)
    """The user painted a layer, which is left alone from now on: its name."""
    layer_made = Signal(object)
    """There is a new `ResultLayer`."""
    failed = Signal(object)
    """The layers are on the disk and can't be written any more: the `UserError`."""
    instances_wanted = Signal()
    """There is a new, empty layer for instances."""

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        sources: Sources,
        heads: Heads,
        provenance: dict[str, Any],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.viewer, self.image, self.sources, self.heads = viewer, image, sources, heads
        self.provenance = provenance
        self.level: int = provenance["level"]
        self.threshold = 0.5
        self.coverage = Coverage()
        self.layers: dict[str, ResultLayer] = {}
        self._first: ResultLayer | None = None
        self.shown = ShownHeads(self.layers, self.head_keys, self.changed.emit)
        self._queue = FillQueue(self._fill, self._here, self._draw, self)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.ndisplay.connect(self._on_ndisplay)

    @property
    def idle(self) -> bool:
        """Whether every layer shows what it should."""
        return self._queue.idle

    @property
    def computed(self) -> dict[Index, int]:
        """Of each plane or volume, how many heads there are anywhere."""
        return self.coverage.heads

    @property
    def head_keys(self) -> list[str]:
        """The keys of all heads that the model has, like "L1"."""
        return [f"L{k}" for k in self.heads.numbers]

    @property
    def available(self) -> list[str]:
        """The keys of what is computed, or could be shown at once from what is."""
        count = self.coverage.deepest
        return [*self.head_keys[:count], *{0: (), 1: ("instances",)}.get(count, DERIVED)]

    def show(self, key: str) -> None:
        """Show the layer of `key`; if it isn't there, make it and fill it with what is known."""
        if key in self.layers:
            self.layers[key].layer.visible = True
        else:
            self._make(key)

    def begin(self) -> None:
        """Make the layer of the first head, while it is computed: that takes napari a while."""
        self._make_head(self.head_keys[0])
        self._first = self.layers[self.head_keys[0]]

    def remove_unfilled(self) -> None:
        """Remove the layer of `begin`, if nothing was computed and the user painted nothing."""
        first = self._first
        if first is None or self.computed or first.layer not in self.viewer.layers:
            return
        if not first.check_painted():
            self.viewer.layers.remove(first.layer)

    def on_tile(self, head: int, index: Index, region: Region) -> None:
        """A head of a tile is in `heads`: show it, and what follows from it."""
        key, available = f"L{head}", self.available
        self.coverage.add(index, region, self.heads.numbers.index(head) + 1)
        if key not in self.layers:
            self._make_head(key)
        waits = self._queue.idle
        for each in (key, "ensemble", "disagreement"):
            if each in self.layers:
                self._queue.add(each, index, region)
        if waits:
            self._queue.hurry()
        self.shown.come(key)
        if self.available != available:
            self.changed.emit()

    def set_threshold(self, threshold: float) -> None:
        """Threshold the heads anew; nothing is computed again."""
        if threshold == self.threshold:
            return
        self.release_painted()
        self.threshold = threshold
        for key, made in self.layers.items():
            if key != "disagreement":
                described = {METADATA_KEY: self._described(key)}
                made.layer.metadata = {**made.layer.metadata, **described}
            if key not in ("disagreement", "instances"):
                self._fill_all(key)

    def release_painted(self) -> None:
        """Leave layers that the user painted alone from now on."""
        for key, made in list(self.layers.items()):
            if made.check_painted():
                self._release(key)
                self.painted.emit(made.layer.name)
                self.changed.emit()

    def is_corrected(self, index: Index, region: Region) -> bool:
        """Whether the user changed a mask in a region of a plane or volume."""
        block = self.heads.layout.result_key(index, region)
        return not all(made.is_as_written(block) for made in self.layers.values())

    def write_instances(self, index: Index, region: Region, instances: NDArray[Any]) -> None:
        """Fill a region ``spatial`` of the instances, which are made elsewhere."""
        if "instances" in self.layers:
            key = self.heads.layout.result_key(index, region)
            computed = self.heads.read_reached(index, region) > 0
            self._write("instances", index, key, instances, computed)

    def close(self) -> None:
        """Let go of the viewer; the layers stay."""
        self._queue.stop()
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self.viewer.dims.events.ndisplay.disconnect(self._on_ndisplay)
        for key in list(self.layers):
            self._release(key)

    def _make_head(self, key: str) -> None:
        """As a run comes to it."""
        self._make(key, aside=self.shown.is_aside(key), untouched=True)

    def _make(self, key: str, *, aside: bool = False, untouched: bool = False) -> None:
        described = self._described(key)
        made = make_layer(key, self.viewer, self.image, self.heads, described, aside=aside)
        self.layers[key] = made
        self.shown.watch(made, untouched=untouched)
        self.layer_made.emit(made)
        if key == "instances":
            self.instances_wanted.emit()
        else:
            self._fill_all(key)
        self.changed.emit()

    def _release(self, key: str) -> None:
        made = self.layers.pop(key)
        made.let_go()
        self.shown.watch_no_more(made)
        self._queue.drop(key)

    def _fill_all(self, key: str) -> None:
        for index, region in self.coverage.regions():
            self._queue.add(key, index, region)

    def _fill(self, key: str, index: Index, region: Region) -> None:
        reached, place = self.heads.read_reached(index, region), 0
        if key in self.head_keys:
            place = self.head_keys.index(key)
            head = self.heads.read_head(self.heads.numbers[place], index, region)
            shown = mask_of(head, self.threshold)
        else:
            values = self.heads.read(index, region)
            shown = (
                disagreement_of(values, reached)
                if key == "disagreement"
                else mask_of(mean_of(values, reached), self.threshold)
            )
        self._write(key, index, self.heads.layout.result_key(index, region), shown, reached > place)

    def _write(
        self, key: str, index: Index, block: Block, values: NDArray[Any], computed: NDArray[Any]
    ) -> None:
        layout = self.heads.layout
        values, computed = layout.as_in_image(values), layout.as_in_image(computed)
        made = self.layers[key]
        try:
            written = made.write(block, values, computed)
        except OSError as error:
            self._queue.stop()
            self.failed.emit(not_written(error))
            return
        if not written:  # painted: a new layer takes the rest
            self._release(key)
            self.painted.emit(made.layer.name)
            self._make(key, aside=not made.layer.visible)
        elif self.viewer.dims.ndisplay == 3 or index == self._here():
            made.stale = True  # other planes are read when the slider comes to them
        self._queue.wake()

    def _draw(self, final: bool) -> bool:
        """Draw the layer that waits longest, one in a turn; gives whether any is waiting."""
        waiting = [made for made in self.layers.values() if made.stale and made.layer.visible]
        if waiting:
            next_up = min(waiting, key=lambda made: made.drawn)
            next_up.draw(final=final)
        return bool(waiting)

    def _here(self) -> Index:
        return index_on_screen(self.image, self.viewer.dims, self.heads.layout, self.level)

    def _described(self, key: str) -> dict[str, Any]:
        return {**self.provenance, "shows": key, "threshold": self.threshold}

    def _on_ndisplay(self) -> None:
        for made in self.layers.values():
            made.show_outline(self.viewer.dims.ndisplay == 2)

    def _on_removed(self, event: Any) -> None:
        for key, made in list(self.layers.items()):
            if made.layer is event.value:
                self._release(key)
                self.changed.emit()
