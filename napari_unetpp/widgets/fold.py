"""A part of the dock that is folded away until it is needed."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget


class Fold(QWidget):
    """A button over a content that it shows and hides.

    Unlike superqt's collapsible it lets the content grow and shrink while it is open.

    Parameters
    ----------
    title : str
        On the button.
    content : QWidget
        What is folded away at first.
    parent : QWidget, optional
        As in Qt.
    """

    toggled = Signal(bool)
    """Whether the content is shown now."""

    def __init__(self, title: str, content: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.button = QPushButton()
        self.button.setCheckable(True)
        self.button.setStyleSheet("QPushButton { text-align: left; }")
        self._title, self._content = title, content
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.button)
        column.addWidget(content)
        self.button.toggled.connect(self._on_toggle)
        self._on_toggle(False)

    @property
    def is_open(self) -> bool:
        """Whether the content is shown."""
        return bool(self.button.isChecked())

    def open(self) -> None:
        """Show the content."""
        self.button.setChecked(True)

    def _on_toggle(self, is_open: bool) -> None:
        self.button.setText(f"{'▾' if is_open else '▸'} {self._title}")
        self._content.setVisible(is_open)
        self.toggled.emit(is_open)
