"""One run of the network in a thread of its own, told to the window by signals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils import progress
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.inference.heads import Heads
from napari_unetpp.inference.layout import Index, Layout
from napari_unetpp.inference.room import fits_in_memory
from napari_unetpp.widgets.job import Job
from napari_unetpp.widgets.memory import RELEASE
from napari_unetpp.widgets.status import Status
from napari_unetpp.widgets.threads import failing_loudly

if TYPE_CHECKING:  # torch is imported in the thread
    from napari_unetpp.inference.events import TileEvent
    from napari_unetpp.models.file import Model

BAR_EVERY = 250
"""Milliseconds between updates of the bar in napari's activity dock."""
BAR_AFTER = 1.0
"""Seconds: what is done sooner has no bar, which takes napari a while to show."""

SHOWN_WITHIN = 0.2
"""Seconds that the network waits at the most until the first head of a run is drawn."""

BYTES_A_PIXEL = 17.0
"""Of four heads and how far they are, and of their layers: what is shown, what was, and where."""


class Run(QObject):
    """A run, from start to `ended`.

    Parameters
    ----------
    job : Job
        What to do.
    parent : QObject
        As in Qt.
    """

    ready = Signal(object)
    """The model is loaded: the `Heads` that will be filled."""
    tile_done = Signal(object)
    """`TileEvent`, of a head that was computed."""
    status = Signal(object)
    """`Status`."""
    notice = Signal(str)
    """A sentence for the user."""
    failed = Signal(object)
    """The exception."""
    ended = Signal(bool)
    """The last signal of all; whether the run came to its end."""

    def __init__(self, job: Job, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.job = job
        self.cancelled = False
        self.error: Exception | None = None
        self.last_status: Status | None = None
        self._complete = False
        self._started = time.monotonic()
        self._prepared = self._started  # what is left is told from the tiles alone
        self._planes: dict[Index, int] = {}
        self._shown = threading.Event()  # the first head that came
        self._stopped = threading.Event()
        self._bar: progress | None = None
        self._is_closed = False
        # napari's bar turns the event loop when it is updated; from within the handling of a tile
        # it would handle the next tile, and so on into the depth.
        self._bar_timer = QTimer(self)
        self._bar_timer.timeout.connect(self._update_bar)
        self._worker: GeneratorWorker = create_worker(
            _work,
            job,
            self._shown,
            self._stopped,
            _start_thread=False,
            _connect={"errored": self._on_error},
        )
        self._worker.yielded.connect(self._on_yield)
        self._worker.returned.connect(self._on_return)
        self._worker.finished.connect(self._on_finished)

    def start(self) -> None:
        """Begin."""
        self._worker.start()
        self._bar_timer.start(BAR_EVERY)

    def cancel(self) -> None:
        """End after the tile that is being computed; what is there stays."""
        self.cancelled = True
        self._stopped.set()
        self._close_bar()  # now: with the viewer closed, nobody is left to hear of the end
        self._worker.quit()

    def _on_yield(self, event: Heads | TileEvent) -> None:
        if self.cancelled:
            return
        if isinstance(event, Heads):
            self._started = self._prepared = time.monotonic()
            self.ready.emit(event)
            return
        self.last_status = self._status(event)
        if event.preparing:
            self._prepared = time.monotonic()
        if event.head:
            self.tile_done.emit(event)
        self.status.emit(self.last_status)
        if event.notice:
            self.notice.emit(event.notice)
        if not self._shown.is_set() and not event.preparing:
            QTimer.singleShot(0, self._shown.set)  # after what has to be painted

    def _status(self, event: TileEvent) -> Status:
        self._planes.setdefault(event.index, len(self._planes) + 1)
        indices = self.job.options.indices
        since = self._started if event.preparing else self._prepared
        seconds = time.monotonic() - since
        return Status(
            fraction=event.fraction,
            head=event.head,
            plane=self._planes[event.index],
            planes=1 if indices is None else len(indices),
            seconds=seconds,
            remaining=seconds * (1 - event.fraction) / event.fraction if event.fraction else 0.0,
            device=event.device.label,
            reason=event.device.reason,
            size=self.job.size,
            preparing=event.preparing,
        )

    def _on_return(self) -> None:
        self._complete = True

    def _on_error(self, error: Exception) -> None:
        self.error = error
        self.failed.emit(error)

    def _on_finished(self) -> None:
        self._close_bar()
        self.ended.emit(self._complete and not self.cancelled)

    def _update_bar(self) -> None:
        status = self.last_status
        if status is None or status.seconds < BAR_AFTER:
            return
        if self._bar is None:
            self._bar_timer.stop()
            bar = progress(total=1000, desc=f"Segment {self.job.name}, {status.device}")
            if self._is_closed:  # napari turned the event loop meanwhile, and the run ended in it
                bar.close()
                return
            self._bar = bar
            self._bar_timer.start(BAR_EVERY)
        self._bar.update(round(status.fraction * 1000) - self._bar.n)

    def _close_bar(self) -> None:
        self._is_closed = True
        self._bar_timer.stop()
        if self._bar is not None:
            self._bar.close()


def _work(
    job: Job, shown: threading.Event, stopped: threading.Event
) -> Iterator[Heads | TileEvent]:
    from napari_unetpp.inference.devices import choose_device
    from napari_unetpp.inference.predict import segment_tiles

    with failing_loudly():
        RELEASE.put_off()
        model = loaded(job.model)
        layout = Layout.of(job.pixels, job.axes, dims=model.spec.dims)
        # Room for all heads, so that a deeper run can go on in the same layers.
        heads = job.into or Heads.empty(
            layout,
            numbers=model.spec.heads,
            classes=len(model.spec.classes),
            in_memory=fits_in_memory(BYTES_A_PIXEL * prod(layout.result_shape)),
        )
        _, events = segment_tiles(job.pixels, model, axes=job.axes, options=job.options, into=heads)
        yield heads
        try:
            for event in events:
                if event.preparing and stopped.is_set():
                    return  # which ends the process that prepares; a worker that quits lets it be
                yield event
                if not event.preparing:
                    shown.wait(SHOWN_WITHIN)  # drawing would take long beside the network
                    shown.set()
        finally:
            RELEASE.begin(choose_device(job.options.device))


def loaded(path: Path) -> Model:
    """The model in a file; the last one is kept, and read again when its file has changed."""
    try:
        return _loaded(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): choose a model.") from error


@lru_cache(maxsize=1)
def _loaded(path: Path, modified: int) -> Model:
    from napari_unetpp.models.file import read_model

    return read_model(path)
