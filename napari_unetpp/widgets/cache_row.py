"""How much results take on the disk, and a button that makes room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QTimer
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_unetpp.errors import UserError
from napari_unetpp.inference.room import (
    Use,
    cache_folder,
    remove_left_behind,
    remove_store,
    use_of_disk,
)
from napari_unetpp.widgets.threads import failing_loudly

EVERY = 5000
"""Milliseconds from one look to the next, while anybody sees it."""


class CacheRow(QWidget):
    """Tells what `inference.room` has on the disk; it is looked at in a thread.

    Parameters
    ----------
    parent : QWidget, optional
        As in Qt.

    Attributes
    ----------
    let_go : callable
        Gives the arrays that are needed no more, when the user wants them removed.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.label = QLabel("…")
        self.button = QPushButton("Remove unused")
        self.button.setToolTip(
            "Remove the results of closed layers, and what a napari that crashed left behind;\n"
            "what is in the list of layers stays"
        )
        self.let_go: Callable[[], Sequence[Any]] = tuple
        self._worker: object = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.refresh)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.label, stretch=1)
        row.addWidget(self.button)
        self.button.clicked.connect(self._on_click)

    def refresh(self) -> None:
        """Look again, if that isn't being done."""
        if self._worker is None:
            self._start(use_of_disk)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Look when it comes into sight, and as long as it is."""
        super().showEvent(event)
        self.refresh()
        self._timer.start(EVERY)

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Look no more; what is found from now on is for nobody: the row may be deleted next."""
        super().hideEvent(event)
        self._timer.stop()
        self._worker = None
        self.button.setEnabled(True)

    def _on_click(self) -> None:
        self.button.setEnabled(False)
        self._start(partial(_tidied, list(self.let_go())))

    def _start(self, look: Callable[[], Use]) -> None:
        worker = create_worker(_look, look, _start_thread=False)
        worker.errored.connect(partial(self._on_error, worker))
        worker.returned.connect(partial(self._show, worker))
        self._worker = worker
        worker.start()

    def _on_error(self, worker: object, error: Exception) -> None:
        if worker is self._worker:
            self._worker = None
            self.button.setEnabled(True)
        raise error

    def _show(self, worker: object, found: Use | str) -> None:
        if worker is not self._worker:
            return  # another look began after it
        self._worker = None
        self.button.setEnabled(True)
        if isinstance(found, str):
            self.label.setText("unknown")
            self.label.setToolTip(found)
        else:
            self.label.setText(f"{in_words(found.used)} of {in_words(found.most)}")
            self.label.setToolTip(
                f"Results that are too large for memory, in {cache_folder()}, and what they may "
                "take"
            )


def in_words(count: float) -> str:
    """A number of bytes, like "1.2 GB"."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB" if count < 99.95 else f"{count:.0f} GB"


def _look(look: Callable[[], Use]) -> Use | str:
    with failing_loudly():
        try:
            return look()
        except (UserError, OSError) as error:
            return str(error)


def _tidied(unused: Sequence[Any]) -> Use:
    for array in unused:
        remove_store(array)
    remove_left_behind()
    return use_of_disk()
