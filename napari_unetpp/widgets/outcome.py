"""What came of a fine-tuning: figures before and after, and what can be done about it."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_unetpp.training.messages import Result
from napari_unetpp.widgets.result_text import result_text


class Outcome(QWidget):
    """The verdict, and Keep, Undo, Redo, Before ⇄ after.

    Parameters
    ----------
    parent : QWidget, optional
        As in Qt.
    """

    keep_clicked = Signal()
    undo_clicked = Signal()
    redo_clicked = Signal()
    flip_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.verdict.setTextFormat(Qt.TextFormat.RichText)
        self.verdict.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.keep_button = QPushButton("Keep")
        self.keep_button.setToolTip("Keep the new version all the same")
        self.undo_button = QPushButton("Undo")
        self.redo_button = QPushButton("Redo")
        self.flip_button = QPushButton("Before ⇄ after")
        self.flip_button.setToolTip("Show the masks of the old version, and of the new (Alt+B)")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.verdict)
        buttons = QHBoxLayout()
        buttons.addWidget(self.keep_button, stretch=1)
        for button in (self.undo_button, self.redo_button, self.flip_button):
            buttons.addWidget(button)
        column.addLayout(buttons)
        self.keep_button.clicked.connect(self.keep_clicked)
        self.undo_button.clicked.connect(self.undo_clicked)
        self.redo_button.clicked.connect(self.redo_clicked)
        self.flip_button.clicked.connect(self.flip_clicked)
        self.verdict.setVisible(False)
        self.show_choices(keep=False, undo="", redo="", flip=False)

    def show_result(self, result: Result, ending: str, names: tuple[str, str] = ("", "")) -> None:
        """Show before and after, head by head, and what was done.

        `names` are those of the model that it began with, and of a new one, if it is one.
        """
        text = result_text(result, *(names if names[1] else ("before", "after")))
        self.verdict.setText(f"{text}<br>{ending}" if ending else text)
        self.verdict.setVisible(True)

    def show_choices(self, *, keep: bool, undo: str, redo: str, flip: bool) -> None:
        """Which buttons there are; `undo` and `redo` are names of models, empty for none."""
        self.keep_button.setVisible(keep)
        self.undo_button.setVisible(bool(undo))
        self.undo_button.setToolTip(f"Use {undo} again; the version that is used now is kept, too")
        self.redo_button.setVisible(bool(redo))
        self.redo_button.setToolTip(f"Use {redo} again")
        self.flip_button.setVisible(flip)
