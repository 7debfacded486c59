"""What a user seldom changes: the device, the tile, the background, and what lies on the disk."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox, QFormLayout, QSpinBox, QWidget

from napari_unetpp.inference.openvino_packages import OPENVINO
from napari_unetpp.widgets.cache_row import CacheRow
from napari_unetpp.widgets.preferences import Preferences

DEVICES = ("auto", "cpu", "cuda", "mps", OPENVINO)
BACKGROUNDS = ("auto", "dark", "bright")


class AdvancedForm(QWidget):
    """Boxes for how it is computed.

    Parameters
    ----------
    preferences : Preferences
        First values.
    parent : QWidget, optional
        As in Qt.
    """

    def __init__(self, preferences: Preferences, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.device_box = _combo(DEVICES, preferences.device)
        self.device_box.setToolTip("auto takes CUDA, then MPS, then the CPU")
        self.tile_box = QSpinBox()
        self.tile_box.setRange(0, 8192)
        self.tile_box.setSpecialValueText("auto")
        self.tile_box.setToolTip(
            "Largest side of a tile; auto takes what fits into memory. L3 and L4, which see far, "
            "take no less than 192 and 352 in planes"
        )
        self.tile_box.setSingleStep(64)
        self.tile_box.setSuffix(" px")
        self.tile_box.setValue(preferences.tile)
        self.background_box = _combo(BACKGROUNDS, "auto")
        self.background_box.setToolTip("auto tells from the median of the plane")
        self.cache_row = CacheRow()
        form = QFormLayout(self)
        form.addRow("Device", self.device_box)
        form.addRow("Tile", self.tile_box)
        form.addRow("Background", self.background_box)
        form.addRow("On the disk", self.cache_row)


def _combo(choices: tuple[str, ...], chosen: str) -> QComboBox:
    box = QComboBox()
    box.addItems(choices)
    box.setCurrentText(chosen)
    return box
