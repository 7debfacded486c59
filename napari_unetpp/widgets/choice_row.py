"""A row of buttons of which one is down: depth and where."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QWidget


class ChoiceRow(QWidget):
    """Choose one of a few words.

    Parameters
    ----------
    choices : sequence of str
        The words on the buttons.
    tips : sequence of str
        A tooltip for each.
    parent : QWidget, optional
        As in Qt.
    """

    changed = Signal(str)
    """The word chosen."""

    def __init__(
        self, choices: Sequence[str], tips: Sequence[str] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QPushButton] = {}
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(2)
        self._group.buttonClicked.connect(lambda button: self.changed.emit(button.text()))
        self.set_choices(choices, tips)

    @property
    def choices(self) -> list[str]:
        """The words that there are."""
        return list(self._buttons)

    @property
    def value(self) -> str:
        """The word chosen."""
        return next(word for word, button in self._buttons.items() if button.isChecked())

    @value.setter
    def value(self, word: str) -> None:
        self._buttons[word].setChecked(True)

    def button(self, word: str) -> QPushButton:
        """The button of a word."""
        return self._buttons[word]

    def set_choices(self, choices: Sequence[str], tips: Sequence[str] = ()) -> None:
        """Replace the buttons; the chosen word stays chosen if it is among them, else the last."""
        checked = self._group.checkedButton()
        before = checked.text() if checked is not None else ""
        for button in self._buttons.values():
            self._group.removeButton(button)
            self._row.removeWidget(button)
            button.deleteLater()
        self._buttons = {}
        for word, tip in zip(choices, tips or [""] * len(choices), strict=True):
            button = QPushButton(word, self)
            button.setCheckable(True)
            button.setToolTip(tip)
            button.setMinimumWidth(34)
            self._group.addButton(button)
            self._row.addWidget(button)
            self._buttons[word] = button
        self.value = before if before in self._buttons else choices[-1]
