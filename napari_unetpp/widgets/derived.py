"""What follows from the heads and takes long enough for a thread: instances, uncertain places."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.qt.threading import create_worker
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from napari_unetpp.inference.heads import Heads, deepest_of, mask_of
from napari_unetpp.inference.layout import Index, Region, inside
from napari_unetpp.widgets.geometry import go_to
from napari_unetpp.widgets.results import Results
from napari_unetpp.widgets.threads import failing_loudly

if TYPE_CHECKING:  # scikit-image is imported in the thread
    from napari_unetpp.inference.uncertain import Place

Part = tuple[Index, Region]
"""Of a plane or volume."""
PART = 4096
"""Pixels along an axis that are looked through for uncertain places at once."""
WRITTEN = 1024
"""Pixels along an axis of instances that are written to their layer at once."""

WAIT = 200
"""Milliseconds that the threshold has to rest before instances are separated again."""


class Derived(QObject):
    """Keeps the instances layer up to date, and leads from one uncertain place to the next.

    Parameters
    ----------
    viewer : ViewerModel
        To move about in.
    results : Results
        Where the heads are.
    parent : QObject, optional
        As in Qt.
    """

    def __init__(
        self, viewer: ViewerModel, results: Results, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._results = results
        self._worker: Any = None
        self._places: list[Place] = []
        self._places_of = -1  # the revision of the results that they belong to
        self._next = 0
        self._canvas: tuple[int, int] | None = None
        self._wait = QTimer(self)
        self._wait.setSingleShot(True)
        self._wait.setInterval(WAIT)
        self._wait.timeout.connect(self._separate)
        results.instances_wanted.connect(self.refresh)

    def refresh(self) -> None:
        """Separate the instances again, if they are shown."""
        self._stop()
        if "instances" in self._results.layers:
            self._wait.start()

    def go_to_next_place(self, canvas: tuple[int, int] | None = None) -> None:
        """Look at the next place where the masks are unsure, the least sure first.

        Parameters
        ----------
        canvas : tuple of int, optional
            Height and width of what is looked at; without them it comes no nearer.
        """
        self._canvas = canvas
        if self._places_of != self._results.coverage.revision:
            self._places_of, self._places = self._results.coverage.revision, []
            worker = create_worker(
                _places, self._results.heads, self._results.coverage.extents(), _start_thread=False
            )
            worker.returned.connect(self._on_places)
            worker.start()
        elif self._places:
            self._go()

    def close(self) -> None:
        """Stop what is being computed."""
        self._stop()
        self.deleteLater()

    def _go(self) -> None:
        """Go to the next place that the user hasn't corrected already."""
        results = self._results
        shape = results.heads.layout.spatial_shape
        for _ in self._places:
            place = self._places[self._next % len(self._places)]
            self._next = self._next % len(self._places) + 1
            if not results.is_corrected(place.index, place.region(shape)):
                break
        else:
            self._viewer.status = "All uncertain places are corrected."
            return
        go_to(
            self._viewer,
            results.image,
            results.heads.layout,
            place.index,
            place.position,
            results.level,
            self._canvas,
        )
        self._viewer.status = (
            f"Uncertain place {self._next} of {len(self._places)}: entropy {place.entropy:.2f}"
        )

    def _separate(self) -> None:
        self._stop()
        worker = create_worker(
            _instances,
            self._results.heads,
            self._results.coverage.extents(),
            self._results.threshold,
            _start_thread=False,
        )
        worker.yielded.connect(self._on_instances)
        self._worker = worker
        worker.start()

    def _stop(self) -> None:
        self._wait.stop()
        if self._worker is not None:
            self._worker.yielded.disconnect(self._on_instances)
            self._worker.quit()
            self._worker = None

    def _on_instances(self, found: tuple[Index, Region, NDArray[Any]]) -> None:
        self._results.write_instances(*found)

    def _on_places(self, places: list[Place]) -> None:
        self._places, self._next = places, 0
        if places:
            self._go()
        else:
            self._viewer.status = "The masks are sure everywhere."


def _instances(
    heads: Heads, parts: list[Part], threshold: float
) -> Iterator[tuple[Index, Region, NDArray[Any]]]:
    """Of the deepest head of each pixel; part by part, numbered on from one to the next.

    Large parts come in pieces, each so small that the window isn't held up while it is written.
    """
    from napari_unetpp.inference.instance_tiles import separate_by_tiles

    last = 0
    with failing_loudly():
        for index, whole in parts:
            read = partial(_mask, heads, index, threshold=threshold)
            for tile, found in separate_by_tiles(read, whole, last=last):
                last = max(last, int(found.max(initial=0)))
                for region in _cut(tile, WRITTEN):
                    yield index, region, found[inside(region, tile)]


def _mask(heads: Heads, index: Index, region: Region, *, threshold: float) -> NDArray[np.uint8]:
    values, reached = heads.read(index, region), heads.read_reached(index, region)
    return mask_of(deepest_of(values, reached), threshold)


def _places(heads: Heads, parts: list[Part]) -> list[Place]:
    from napari_unetpp.inference.uncertain import entropy_of, uncertain_places

    with failing_loudly():
        found = []
        for index, whole in parts:
            for region in _cut(whole):
                values, reached = heads.read(index, region), heads.read_reached(index, region)
                start = [part.start for part in region]
                places = uncertain_places(entropy_of(values, reached), index, start)
                found.extend(places)
    return sorted(found, key=lambda place: -place.entropy)


def _cut(region: Region, side: int = PART) -> Iterator[Region]:
    starts = (range(part.start, part.stop, side) for part in region)
    for place in product(*starts):
        yield tuple(
            slice(start, min(start + side, part.stop))
            for start, part in zip(place, region, strict=True)
        )
