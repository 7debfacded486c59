"""Tells when the window that a widget is in is closed."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import QMainWindow, QWidget


class WindowClose(QObject):
    """Listens to a main window; the application, and other windows, may go on.

    Parameters
    ----------
    parent : QObject, optional
        As in Qt.
    """

    closed = Signal()
    """The window was closed, and is about to be deleted with all that is in it."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._is_asked = False

    def watch(self, widget: QWidget) -> None:
        """Listen to the main window of a widget, which may be in a floating one of its own."""
        window: QWidget | None = widget
        while window is not None and not isinstance(window, QMainWindow):
            window = window.parentWidget()
        if window is not None:
            window.installEventFilter(self)  # once, if it is there already

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """See to it that the window hides after it was asked to close, which it may refuse."""
        if event is None:
            return False
        if event.type() == QEvent.Type.Close:
            self._is_asked = True
        elif event.type() == QEvent.Type.Hide and self._is_asked and not event.spontaneous():
            self.closed.emit()  # not where the user minimised it
        return False
