"""The run that is on, and the results of every image: what the dock shows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_unetpp.inference.heads import Heads
from napari_unetpp.widgets.derived import Derived
from napari_unetpp.widgets.job import Job
from napari_unetpp.widgets.results import Results
from napari_unetpp.widgets.run import Run
from napari_unetpp.widgets.sources import Sources


class Session(QObject):
    """Runs jobs, one at a time, and keeps their results by image.

    Parameters
    ----------
    viewer : ViewerModel
        Where the layers go.
    parent : QObject, optional
        As in Qt.
    """

    results_changed = Signal()
    """Layers came, went, were shown, hidden or painted; or another head was computed."""
    painted = Signal(str)
    """The user painted a result layer, which is left alone from now on: its name."""
    layer_made = Signal(object, object)
    """`Results` and their new `ResultLayer`."""
    failed = Signal(object)
    """The results can't be shown any further: the `UserError`."""
    run_started = Signal(object)
    """The `Run`."""

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.run: Run | None = None
        self._is_open = True
        self._image: Image | None = None  # of the run
        self._new: Results | None = None  # that the run made
        self._watched: dict[Image, Sources] = {}  # what is, or was, segmented, and of which layers
        self._results: dict[Image, Results] = {}
        self._derived: dict[Image, Derived] = {}
        viewer.layers.events.removed.connect(self._on_removed)

    def results_of(self, image: Image | None) -> Results | None:
        """What was computed for an image; None if nothing."""
        return None if image is None else self._results.get(image)

    def derived_of(self, image: Image | None) -> Derived | None:
        """What follows from it: instances and uncertain places."""
        return None if image is None else self._derived.get(image)

    def start(self, image: Image, job: Job, threshold: float) -> None:
        """Run a job on an image.

        With the settings of the results there are, these are filled further; else new layers are
        made. Painted layers are left as they are in either case.
        """
        assert self.run is None, "one run at a time"
        if before := self._results.get(image):
            before.release_painted()
            if (before.provenance, before.sources) == (job.provenance, job.sources):
                job = replace(job, into=before.heads)
        self._image = image
        self._watch(image, job.sources)
        self.run = Run(job, self)
        self.run.ready.connect(partial(self._on_ready, threshold))
        self.run.tile_done.connect(self._on_tile)
        self.run.ended.connect(self._on_ended)
        self.run.start()  # what it says comes with the next turns of the event loop
        self.run_started.emit(self.run)

    def cancel(self) -> None:
        """End the run after the tile that is being computed; what is there stays."""
        if self.run is not None:
            self.run.cancel()

    def forget_closed(self) -> list[Any]:
        """Let go of what was computed for images whose results were all removed or painted.

        Returns
        -------
        list of array
            Probabilities, and how far they were computed: nobody reads them any more.
        """
        unused: list[Any] = []
        for image, results in list(self._results.items()):
            if not results.layers and image is not self._image:
                unused += [results.heads.values, results.heads.reached]
                self._forget(image)
        self.results_changed.emit()
        return unused

    def close(self) -> None:
        """End the run and let go of the viewer; layers stay."""
        self._is_open = False
        self.cancel()
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        for image in list(self._watched):
            self._forget(image)

    def _on_ready(self, threshold: float, heads: Heads) -> None:
        assert self.run is not None
        assert self._image is not None
        image, job = self._image, self.run.job
        before, depth = self._results.get(image), job.options.depth
        if job.into is not None:
            if before is not None:
                before.shown.aim(depth)
            return
        if before is not None:
            before.shown.hide()
        self._forget(image)
        self._watch(image, job.sources)
        results = Results(self.viewer, image, job.sources, heads, job.provenance, self)
        results.threshold = threshold
        results.changed.connect(self.results_changed)
        results.painted.connect(self.painted)
        results.failed.connect(self.failed)
        results.layer_made.connect(partial(self.layer_made.emit, results))
        self._results[image] = results
        self._derived[image] = Derived(self.viewer, results, self)
        self._new = results
        results.shown.aim(depth)
        results.begin()

    def _on_tile(self, event: Any) -> None:
        if results := self.results_of(self._image):
            results.on_tile(event.head, event.index, event.region)

    def _on_ended(self, complete: bool) -> None:
        assert self.run is not None
        image, self._image = self._image, None
        new, self._new = self._new, None
        if new is not None and self._is_open:
            new.remove_unfilled()
        if complete and (results := self.results_of(image)):
            results.shown.end()
        self.run.deleteLater()
        self.run = None
        if derived := self.derived_of(image):
            derived.refresh()
        self.results_changed.emit()

    def _watch(self, image: Image, sources: Sources) -> None:
        """Results are of the pixels that were there: with other ones, they and the run end."""
        self._watch_no_more(image)
        self._watched[image] = sources
        for layer in {image, *sources.layers}:
            layer.events.data.connect(self._on_data)  # once, if it is asked for again

    def _watch_no_more(self, image: Image) -> None:
        if sources := self._watched.pop(image, None):
            for layer in {image, *sources.layers} - self._layers_in_use():
                layer.events.data.disconnect(self._on_data)

    def _layers_in_use(self) -> set[Image]:
        return {layer for i, sources in self._watched.items() for layer in (i, *sources.layers)}

    def _on_data(self, event: Any) -> None:
        for image, sources in list(self._watched.items()):
            if event.source in (image, *sources.layers):
                self._let_go_of(image)

    def _on_removed(self, event: Any) -> None:
        if event.value in self._watched:
            self._let_go_of(event.value)
        elif self.run is not None and event.value in self.run.job.sources.layers:
            self.cancel()  # what was made of it stays

    def _let_go_of(self, image: Image) -> None:
        if image is self._image:
            self.cancel()
        self._forget(image)
        self.results_changed.emit()

    def _forget(self, image: Image) -> None:
        self._watch_no_more(image)
        if derived := self._derived.pop(image, None):
            derived.close()
        if results := self._results.pop(image, None):
            results.close()
            results.deleteLater()
