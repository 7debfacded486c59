"""What a network is made of: kinds of skips, nodes, and ways down and up, to choose."""

from __future__ import annotations

from typing import Any, get_args

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QSizePolicy, QSpinBox, QWidget

from napari_unetpp.network.architecture import DOWNS, SKIPS, UPS, Architecture, Block, Skip
from napari_unetpp.widgets.draft import fitting_ups

_SKIPS = {
    "none": "none: encoder and decoder alone",
    "plain": "plain: the encoder's node, as in U-Net",
    "unet+": "neighbour: the node beside, as in UNet+",
    "aggregation": "aggregation: as UNet+, with lighter nodes",
    "nested": "nested: all nodes before, as in UNet++",
}
_BLOCKS = {
    "plain": "plain: two convolutions",
    "residual": "residual: the input is added",
    "dense": "dense: the second sees the input, too",
    "grouped": "grouped: far fewer weights",
}


class PartsForm(QWidget):
    """Choose the kinds; what doesn't go together is not offered."""

    changed = Signal()
    """The user chose another part."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.skip_box = _box({skip: _SKIPS[skip] for skip in get_args(Skip)})
        self.block_box = _box({block: _BLOCKS[block] for block in get_args(Block)})
        self.groups_box = QSpinBox()
        self.down_box = _box({down: kind.name for down, kind in DOWNS.items()})
        self.up_box = _box({})
        self.heads_box = _box({True: "in each column", False: "the deepest alone"})
        self._lay_out()
        self.show_parts(Architecture(), True)
        self._connect()

    @property
    def architecture(self) -> Architecture:
        """The kinds that are chosen."""
        block = self.block_box.currentData()
        groups = self.groups_box.value() if block == "grouped" else Architecture.groups
        return Architecture(
            skip=self.skip_box.currentData(),
            block=block,
            groups=groups,
            down=self.down_box.currentData(),
            up=self.up_box.currentData(),
        )

    @property
    def supervised(self) -> bool:
        """Whether there is a head in each column where there can be one."""
        return bool(self.heads_box.currentData())

    def show_parts(self, architecture: Architecture, supervised: bool) -> None:
        """Choose these, without telling."""
        self.blockSignals(True)
        _choose(self.skip_box, architecture.skip)
        _choose(self.block_box, architecture.block)
        self.groups_box.setValue(architecture.groups)
        _choose(self.down_box, architecture.down)
        self._offer_ups()
        _choose(self.up_box, architecture.up)
        self._offer_heads()
        _choose(self.heads_box, supervised or not architecture.kind.nested)
        self.blockSignals(False)

    def _on_change(self) -> None:
        self.groups_box.setEnabled(self.block_box.currentData() == "grouped")
        self._offer_heads()
        self.changed.emit()

    def _on_down(self) -> None:
        self._offer_ups()
        self._on_change()

    def _offer_ups(self) -> None:
        """Those that go with the way down; what is chosen stays if it is one of them."""
        chosen, ups = self.up_box.currentData(), fitting_ups(self.down_box.currentData())
        self.up_box.blockSignals(True)
        self.up_box.clear()
        for up in ups:
            self.up_box.addItem(UPS[up].name, up)
        _choose(self.up_box, chosen if chosen in ups else ups[0])
        self.up_box.setEnabled(len(ups) > 1)
        self.up_box.blockSignals(False)

    def _offer_heads(self) -> None:
        """With plain skips just the last column reaches the full size: there is no choice."""
        nested = SKIPS[self.skip_box.currentData()].nested
        self.heads_box.setEnabled(nested)
        self.groups_box.setEnabled(self.block_box.currentData() == "grouped")
        self.heads_box.setItemText(0, "in each column" if nested else "the last column alone")

    def _lay_out(self) -> None:
        self.groups_box.setRange(1, 8192)
        self.groups_box.setToolTip("Of the channels in a grouped block; they divide all widths")
        self.heads_box.setToolTip(
            "In each column: deep supervision, with a depth to choose when you segment"
        )
        self.skip_box.setToolTip("Which nodes of its row a node takes")
        self.block_box.setToolTip("What a node is made of")
        form = QFormLayout(self)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        for label, box in (
            ("Skips", self.skip_box),
            ("Block", self.block_box),
            ("Groups", self.groups_box),
            ("Down", self.down_box),
            ("Up", self.up_box),
            ("Heads", self.heads_box),
        ):
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            form.addRow(label, box)

    def _connect(self) -> None:
        for box in (self.skip_box, self.block_box, self.up_box, self.heads_box):
            box.currentIndexChanged.connect(self._on_change)
        self.groups_box.valueChanged.connect(self._on_change)
        self.down_box.currentIndexChanged.connect(self._on_down)


def _box(choices: dict[Any, str]) -> QComboBox:
    box = QComboBox()
    for key, text in choices.items():
        box.addItem(text, key)
        box.setItemData(box.count() - 1, text, Qt.ItemDataRole.ToolTipRole)
    return box


def _choose(box: QComboBox, key: Any) -> None:
    box.setCurrentIndex(box.findData(key))
