"""What follows from the heads and takes long enough for a thread: instances, uncertain places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.qt.threading import create_worker
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from napari_unetpp.inference.heads import deepest_of, disagreement_of, mask_of
from napari_unetpp.inference.layout import Index
from napari_unetpp.widgets.geometry import go_to
from napari_unetpp.widgets.results import Results
from napari_unetpp.widgets.threads import failing_loudly

if TYPE_CHECKING:  # scikit-image is imported in the thread
    from napari_unetpp.inference.uncertain import Place

Plane = tuple[Index, NDArray[Any], NDArray[Any]]
"""Its index, its heads ``(head, class, y, x)``, and how deep each pixel is computed."""

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

    def go_to_next_place(self) -> None:
        """Look at the next place where the heads disagree, the most uncertain first."""
        if self._places_of != self._results.revision:
            self._places_of, self._places = self._results.revision, []
            worker = create_worker(_places, self._planes(), _start_thread=False)
            worker.returned.connect(self._on_places)
            worker.start()
        elif self._places:
            self._go()

    def close(self) -> None:
        """Stop what is being computed."""
        self._stop()
        self.deleteLater()

    def _go(self) -> None:
        place = self._places[self._next % len(self._places)]
        self._next += 1
        layout = self._results.heads.layout
        go_to(self._viewer, self._results.image, layout, place.index, place.y, place.x)
        self._viewer.status = (
            f"Uncertain place {self._next} of {len(self._places)}: "
            f"disagreement {place.disagreement:.2f}"
        )

    def _planes(self) -> list[Plane]:
        heads = self._results.heads
        return [
            (index, heads.read(index), heads.read_reached(index))
            for index in self._results.computed
        ]

    def _separate(self) -> None:
        self._stop()
        worker = create_worker(
            _instances, self._planes(), self._results.threshold, _start_thread=False
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

    def _on_instances(self, found: tuple[Index, NDArray[Any]]) -> None:
        self._results.write_instances(*found)

    def _on_places(self, places: list[Place]) -> None:
        self._places, self._next = places, 0
        if places:
            self._go()
        else:
            self._viewer.status = "The heads agree everywhere."


def _instances(planes: list[Plane], threshold: float) -> Iterator[tuple[Index, NDArray[Any]]]:
    """Of the deepest head of each pixel; plane by plane, numbered on from one to the next."""
    from napari_unetpp.inference.instances import separate

    last = 0
    with failing_loudly():
        for index, values, reached in planes:
            found = separate(mask_of(deepest_of(values, reached), threshold))
            found[found > 0] += last
            last = max(last, int(found.max(initial=0)))
            yield index, found


def _places(planes: list[Plane]) -> list[Place]:
    from napari_unetpp.inference.uncertain import uncertain_places

    with failing_loudly():
        found = [
            place
            for index, values, reached in planes
            for place in uncertain_places(disagreement_of(values, reached), index)
        ]
    return sorted(found, key=lambda place: -place.disagreement)
