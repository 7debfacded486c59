"""Counts networks in a thread: torch isn't loaded yet perhaps, and no window waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from napari_unetpp.models import ModelSpec
from napari_unetpp.widgets.threads import failing_loudly

if TYPE_CHECKING:
    from napari_unetpp.evaluation.size import Size

Sizes = dict[ModelSpec, "Size"]


class SizeCounter(QObject):
    """Counts one batch of networks after the other; of those asked for meanwhile just the last."""

    counted = Signal()
    """More is known; see `known`."""
    failed = Signal(object)
    """The exception: a bug."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.known: Sizes = {}
        self._wanted: list[ModelSpec] = []
        self._running, self._is_open = False, True

    def ask(self, specs: Sequence[ModelSpec]) -> None:
        """Count these, if they aren't known; `counted` tells when. They have no history."""
        self._wanted = [spec for spec in specs if spec not in self.known]
        if self._wanted and not self._running:
            self._start()

    def close(self) -> None:
        """Tell nothing any more."""
        self._is_open = False

    def _start(self) -> None:
        self._running = True
        worker = create_worker(
            _count, self._wanted, _start_thread=False, _connect={"errored": self._on_error}
        )
        worker.returned.connect(self._on_counted)
        worker.start()

    def _on_counted(self, sizes: Sizes) -> None:
        self._running = False
        self.known |= sizes
        if self._is_open:
            self.counted.emit()
            self.ask(self._wanted)

    def _on_error(self, error: Exception) -> None:
        self._running = False
        if self._is_open:
            self.failed.emit(error)


def _count(specs: Sequence[ModelSpec]) -> Sizes:
    with failing_loudly():
        from napari_unetpp.evaluation.size import size_of

        return {spec: size_of(spec) for spec in specs}
