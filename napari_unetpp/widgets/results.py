"""The layers of one image and model: filled while the network runs, re-thresholded live."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unetpp.inference.axes import Index
from napari_unetpp.inference.heads import Heads, disagreement_of, mask_of, mean_of
from napari_unetpp.widgets.geometry import METADATA_KEY, index_on_screen, place_like
from napari_unetpp.widgets.result_layer import DERIVED, ResultLayer

BLOCK = 512
"""Side of the pieces that are filled at once: some milliseconds, so that the window never waits."""
BUDGET = 0.012
"""Seconds of filling in one turn of the event loop."""
DRAW_EVERY = 0.1
"""Seconds between redraws of a layer that is being filled."""

Region = tuple[slice, slice]


class Results(QObject):
    """Result layers that show `Heads`.

    What has to be (re)filled is queued by plane, and worked off a little in each turn of the event
    loop, the plane on screen first.

    Parameters
    ----------
    viewer : ViewerModel
        Where the layers go.
    image : Image
        What was segmented.
    heads : Heads
        Filled by the worker.
    provenance : dict
        What makes the heads: enough to run it again.
    parent : QObject, optional
        As in Qt.
    """

    layers_changed = Signal()
    """A layer came or went, was shown or hidden, or was found painted."""

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        heads: Heads,
        provenance: dict[str, Any],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.viewer, self.image, self.heads = viewer, image, heads
        self.provenance = provenance
        self.threshold = 0.5
        self.computed: dict[Index, int] = {}  # the deepest head there is of each plane
        self.layers: dict[str, ResultLayer] = {}
        self.revision = 0  # counts what was computed
        self._queue: dict[Index, dict[tuple[str, Any], Region]] = {}
        self._timer = QTimer(self)
        self._timer.setInterval(15)
        self._timer.timeout.connect(self._work)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def idle(self) -> bool:
        """Whether every layer shows what it should."""
        waiting = (made.stale and made.layer.visible for made in self.layers.values())
        return not self._queue and not any(waiting)

    @property
    def head_keys(self) -> list[str]:
        """The keys of all heads that the model has, like "L1"."""
        return [f"L{k}" for k in range(1, self.heads.depth + 1)]

    @property
    def available(self) -> list[str]:
        """The keys of what is computed, or could be shown at once from what is."""
        deepest = max(self.computed.values(), default=0)
        return [*self.head_keys[:deepest], *(DERIVED if deepest else ())]

    @property
    def visible(self) -> dict[str, bool]:
        """By key, whether a layer is shown."""
        return {key: bool(made.layer.visible) for key, made in self.layers.items()}

    def solo(self, key: str) -> None:
        """Show one head alone; once more, and all heads are back."""
        heads = [k for k in self.head_keys if k in self.layers]
        alone = [k for k in heads if self.layers[k].layer.visible] == [key]
        if key in heads:
            for head in heads:
                self.layers[head].layer.visible = alone or head == key

    def add(self, key: str) -> None:
        """Make the layer of `key`, if it isn't there, and fill it with what is known."""
        if key in self.layers:
            self.layers[key].layer.visible = True
            return
        made = ResultLayer(
            key,
            f"{self.image.name} · {key}",
            self.heads.planes.result_shape,
            classes=self.heads.values.shape[1],
            place=place_like(self.image, self.heads.planes),
            metadata={METADATA_KEY: self._described(key)},
        )
        self.layers[key] = made
        selected = set(self.viewer.layers.selection)
        self.viewer.layers.append(made.layer)
        if selected:  # the user goes on with what they had in hand
            self.viewer.layers.selection = selected & set(self.viewer.layers)
        made.layer.events.visible.connect(self._on_visible)
        if key != "instances":
            self._enqueue_all(key)
        self.layers_changed.emit()

    def on_tile(self, head: int, index: Index, region: Region) -> None:
        """A head of a tile is in `heads`: show it, and what follows from it."""
        self.computed[index] = max(head, self.computed.get(index, 0))
        self.revision += 1
        self.add_if_new(f"L{head}")
        for key in (f"L{head}", "ensemble", "disagreement"):
            if key in self.layers:
                self._enqueue(key, index, region)

    def add_if_new(self, key: str) -> None:
        """As `add`, but a layer that is there stays shown or hidden as it is."""
        if key not in self.layers:
            self.add(key)

    def set_threshold(self, threshold: float) -> None:
        """Threshold the heads anew; nothing is computed again."""
        if threshold == self.threshold:
            return
        self.release_painted()
        self.threshold = threshold
        for key, result in self.layers.items():
            if key not in ("disagreement", "instances"):
                result.layer.metadata[METADATA_KEY]["threshold"] = threshold
                self._enqueue_all(key)

    def release_painted(self) -> list[str]:
        """Leave layers that the user painted alone from now on; gives their names."""
        painted = [key for key, result in self.layers.items() if result.check_painted()]
        names = [self.layers[key].layer.name for key in painted]
        for key in painted:
            self._release(key)
        if painted:
            self.layers_changed.emit()
        return names

    def write_plane(self, key: str, index: Index, values: NDArray[Any]) -> None:
        """Fill a plane ``(y, x)`` of a layer that is made elsewhere, like the instances."""
        if key in self.layers:
            self._write(key, index, self.heads.planes.result_key(index), values)

    def plane_values(self, index: Index) -> NDArray[Any]:
        """The computed heads of a plane, shape ``(head, class, y, x)``."""
        return self.heads.plane(index)[: self.computed.get(index, 0)]

    def hide(self) -> None:
        """Hide the layers, to make room for those of another run."""
        for result in self.layers.values():
            result.layer.visible = False

    def close(self) -> None:
        """Let go of the viewer; the layers stay."""
        self._timer.stop()
        self._queue.clear()
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        for result in self.layers.values():
            result.layer.events.visible.disconnect(self._on_visible)

    def _release(self, key: str) -> None:
        result = self.layers.pop(key)
        result.layer.events.visible.disconnect(self._on_visible)
        for blocks in self._queue.values():
            for entry in [entry for entry in blocks if entry[0] == key]:
                del blocks[entry]

    def _on_visible(self) -> None:
        self.layers_changed.emit()

    def _on_removed(self, event: Any) -> None:
        removed: Layer = event.value
        for key, result in list(self.layers.items()):
            if result.layer is removed:
                self._release(key)
                self.layers_changed.emit()

    def _enqueue_all(self, key: str) -> None:
        height, width = self.heads.planes.plane_shape
        for index in self.computed:
            self._enqueue(key, index, (slice(0, height), slice(0, width)))

    def _enqueue(self, key: str, index: Index, region: Region) -> None:
        blocks = self._queue.setdefault(index, {})
        for block in _blocks(region):
            rows, columns = block
            blocks[key, (rows.start, rows.stop, columns.start, columns.stop)] = block
        self._timer.start()

    def _work(self) -> None:
        """Fill for as long as the budget lasts, then draw what is on screen."""
        started = time.perf_counter()
        here = self._here()
        while self._queue and time.perf_counter() - started < BUDGET:
            index = here if here in self._queue else next(iter(self._queue))
            blocks = self._queue[index]
            if not blocks:
                del self._queue[index]
                continue
            (key, _), region = blocks.popitem()
            self._fill(key, index, region)
        self._draw(final=not self._queue)
        if self.idle:
            self._timer.stop()

    def _fill(self, key: str, index: Index, region: Region) -> None:
        values = self.heads.plane(index)[(..., *region)]
        block = list(self.heads.planes.result_key(index))
        axes = self.heads.axes
        block[axes.index("Y")], block[axes.index("X")] = region
        self._write(key, index, tuple(block), self._made(key, values, self.computed[index]))

    def _write(
        self, key: str, index: Index, block: tuple[int | slice, ...], values: NDArray[Any]
    ) -> None:
        axes = self.heads.axes
        if axes.index("Y") > axes.index("X"):
            values = values.T
        if not self.layers[key].write(block, values):
            self._release(key)  # painted: a new layer takes the rest
            self.add(key)
        elif self.viewer.dims.ndisplay == 3 or index == self._here():
            self.layers[key].stale = True  # other planes are read when the slider comes to them
        self._timer.start()

    def _draw(self, *, final: bool) -> None:
        """Draw the layer that waits longest; one in a turn, so that no turn is long."""
        waiting = [made for made in self.layers.values() if made.stale and made.layer.visible]
        if waiting:
            next_up = min(waiting, key=lambda made: made.drawn)
            if final or time.perf_counter() - next_up.drawn > DRAW_EVERY:
                next_up.draw(thumbnail=final)

    def _here(self) -> Index:
        return index_on_screen(self.image, self.viewer.dims, self.heads.planes)

    def _made(self, key: str, values: NDArray[Any], depth: int) -> NDArray[Any]:
        """What a layer shows for values ``(head, class, y, x)``, of which `depth` are computed."""
        if key == "ensemble":
            return mask_of(mean_of(values[:depth]), self.threshold)
        if key == "disagreement":
            return disagreement_of(values[:depth])
        return mask_of(values[int(key.removeprefix("L")) - 1], self.threshold)

    def _described(self, key: str) -> dict[str, Any]:
        return {**self.provenance, "shows": key, "threshold": self.threshold}


def _blocks(region: Region) -> Iterator[Region]:
    rows, columns = region
    for y in range(rows.start, rows.stop, BLOCK):
        for x in range(columns.start, columns.stop, BLOCK):
            yield (
                slice(y, min(y + BLOCK, rows.stop)),
                slice(x, min(x + BLOCK, columns.stop)),
            )
