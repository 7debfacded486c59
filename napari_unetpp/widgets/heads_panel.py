"""The dock's second part: which heads are shown, and from which probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_unetpp.widgets.result_layer import COLOURS, DERIVED, OTHER_COLOURS

_TIPS = {
    "ensemble": "The mean of the heads, thresholded",
    "disagreement": "How much the heads differ",
    "instances": "Touching objects of the deepest computed head, separated",
}


class HeadsPanel(QWidget):
    """Check boxes that show and hide the result layers, and the threshold.

    It holds no state of its own: `show_state` says what is there and what is visible.
    """

    toggled = Signal(str, bool)
    """A layer is to be shown or hidden: its key, like "L1"."""
    soloed = Signal(str)
    """Of the heads just this one is to be shown."""
    threshold_changed = Signal(float)
    next_clicked = Signal()

    def __init__(self, threshold: float, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.boxes: dict[str, QCheckBox] = {}
        self.slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0.01, 1.0)
        self.slider.setDecimals(2)
        self.slider.setSingleStep(0.05)  # type: ignore[arg-type]  # superqt says int
        self.slider.setValue(threshold)
        self.slider.setToolTip("Probability from which a pixel belongs to a mask")
        self.next_button = QPushButton("next uncertain →")
        self.next_button.setToolTip("Go to the place where the mask is least sure, then the next")
        self._heads_row = QHBoxLayout()
        self._lay_out()
        self.slider.valueChanged.connect(self.threshold_changed)
        self.next_button.clicked.connect(self.next_clicked)

    def offer_heads(self, heads: Sequence[str]) -> None:
        """Have a box for each of these heads, like "L1", "L2"."""
        if list(heads) == [key for key in self.boxes if key not in DERIVED]:
            return
        for key in [key for key in self.boxes if key not in DERIVED]:
            box = self.boxes.pop(key)
            self._heads_row.removeWidget(box)
            box.deleteLater()
        for number, key in enumerate(heads):
            box = self._box(key)
            box.setIcon(swatch(COLOURS.get(key, OTHER_COLOURS[0])))
            box.setToolTip(
                f"Show the mask of {key} (Alt+{key[1:]}); alone with Alt (Ctrl+Alt+{key[1:]})"
            )
            self._heads_row.insertWidget(number, box)

    def show_state(self, visible: Mapping[str, bool], can_show: Sequence[str]) -> None:
        """Tick what is visible, and offer what there is or could be made of what is computed."""
        for key, box in self.boxes.items():
            box.blockSignals(True)
            box.setChecked(visible.get(key, False))
            box.setEnabled(key in can_show)
            box.blockSignals(False)
        self.next_button.setEnabled(any(key not in DERIVED for key in can_show))

    def toggle(self, key: str) -> None:
        """As a click on the box of `key`, if there is one to click."""
        if key in self.boxes and self.boxes[key].isEnabled():
            self.boxes[key].toggle()

    def _lay_out(self) -> None:
        self._heads_row.addStretch()
        derived = QHBoxLayout()
        for key in DERIVED:
            derived.addWidget(self._box(key))
            self.boxes[key].setToolTip(_TIPS[key])
        self.boxes["ensemble"].setIcon(swatch(COLOURS["ensemble"]))
        derived.addStretch()
        threshold = QHBoxLayout()
        threshold.addWidget(QLabel("threshold"))
        threshold.addWidget(self.slider, stretch=1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._heads_row)
        column.addLayout(derived)
        column.addWidget(self.next_button)
        column.addLayout(threshold)

    def _box(self, key: str) -> QCheckBox:
        box = QCheckBox(key)
        box.toggled.connect(lambda on: self._on_toggle(key, on))
        self.boxes[key] = box
        return box

    def _on_toggle(self, key: str, on: bool) -> None:
        alt = QApplication.keyboardModifiers() & Qt.KeyboardModifier.AltModifier
        clicked = self.boxes[key].underMouse()  # Alt is down too where a shortcut toggles
        if alt and clicked and key not in DERIVED:
            self.soloed.emit(key)
        else:
            self.toggled.emit(key, on)


def swatch(colour: str) -> QIcon:
    """A little square of a colour."""
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(colour))
    return QIcon(pixmap)
