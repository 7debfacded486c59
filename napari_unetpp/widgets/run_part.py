"""The button that starts and cancels a run, and how far that is."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_unetpp.widgets.status import Status

BUSY_AFTER = 1500
"""Milliseconds without a tile after which the bar moves: for each of its steps all of the window
is drawn."""
STATUS_AFTER = 200
"""Milliseconds until the latest status is shown, for the same reason: tiles may come faster."""

NO_SELECTION = Qt.TextInteractionFlag.NoTextInteraction
SELECTION = Qt.TextInteractionFlag.TextSelectableByMouse


class RunPart(QWidget):
    """Segment, which becomes Cancel; a bar; and a sentence.

    Parameters
    ----------
    parent : QWidget, optional
        As in Qt.
    """

    segment_clicked = Signal()
    cancel_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.button = QPushButton("Segment")
        self.bar = QProgressBar()
        self.message = QLabel()
        self._running = self._possible = False
        self._status: Status | None = None  # that is to be shown
        self._status_timer = QTimer(self)
        self._status_timer.setSingleShot(True)
        self._status_timer.setInterval(STATUS_AFTER)
        self._status_timer.timeout.connect(self._show_status)
        self._busy_timer = QTimer(self)
        self._busy_timer.setSingleShot(True)
        self._busy_timer.setInterval(BUSY_AFTER)
        self._busy_timer.timeout.connect(lambda: self.bar.setRange(0, 0))
        self.button.clicked.connect(self._on_click)
        self._lay_out()

    def enable(self, possible: bool) -> None:
        """Say whether there is something to segment; what is on can be cancelled in any case."""
        self._possible = possible
        self.button.setEnabled(self._running or possible)

    def show_running(self, running: bool) -> None:
        """Turn Segment into Cancel and back."""
        self._running = running
        self.button.setEnabled(running or self._possible)
        self.button.setText("Cancel" if running else "Segment")
        self.bar.setRange(0, 1000)
        self.bar.reset()
        self.bar.setVisible(running)
        # A sentence that can be selected is painted twice, and with it all of the window.
        self.message.setTextInteractionFlags(NO_SELECTION if running else SELECTION)
        if running:
            self._busy_timer.start()
            self.say("Loading the model …")
        else:
            self._busy_timer.stop()
            self._status_timer.stop()

    def show_status(self, status: Status) -> None:
        """Show how far a run is, in a moment."""
        self._status = status
        if not status.preparing:
            self._busy_timer.stop()
        if not self._status_timer.isActive():
            self._status_timer.start()

    def _show_status(self) -> None:
        status = self._status
        assert status is not None
        if status.preparing:  # the bar goes on moving
            self.say(f"{status.preparing} {status.seconds:.0f} s · {status.device}", status.reason)
            return
        plane = f" · {status.plane}/{status.planes}" if status.planes > 1 else ""
        left = f" · {status.remaining:.0f} s left" if status.remaining >= 1 else ""
        head = f"L{status.head}" if status.head else "a part left out"
        self.say(f"{head}{plane}{left} · {status.device}{status.size}", status.reason)
        self.bar.setUpdatesEnabled(False)  # it would paint itself now, and not with the sentence
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(status.fraction * 1000))
        self.bar.setUpdatesEnabled(True)

    def say(self, sentence: str, tip: str = "") -> None:
        """Put a sentence under the button."""
        self.message.setText(sentence)
        self.message.setToolTip(tip)

    def _on_click(self) -> None:
        (self.cancel_clicked if self._running else self.segment_clicked).emit()

    def _lay_out(self) -> None:
        self.button.setToolTip("Run the network; the heads appear as they are computed")
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.bar.setVisible(False)
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(SELECTION)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.button, self.bar, self.message):
            column.addWidget(widget)
