"""How wide a network is: a few sizes with their number of parameters, or widths of one's own."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLineEdit, QSizePolicy, QVBoxLayout, QWidget

from napari_unetpp.errors import UserError
from napari_unetpp.widgets.draft import SIZES, Network, parsed_widths

OWN = "own widths"


class SizeRow(QWidget):
    """Choose the channels of the rows of a network."""

    changed = Signal()
    """Other widths are chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box, self.edit = QComboBox(), QLineEdit()
        self._sizes: dict[str, tuple[int, ...]] = {}
        self.box.addItems([*SIZES, OWN])
        self.box.setToolTip("Channels of the first and the last row; they double from row to row")
        self.edit.setToolTip("Channels of each row, like 16, 32, 64: one more than it goes down")
        self.edit.setVisible(False)
        self.box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.box)
        column.addWidget(self.edit)
        self.box.currentIndexChanged.connect(self._on_choice)
        self.edit.textChanged.connect(self.changed)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that are chosen.

        Raises
        ------
        UserError
            If those of one's own can't be.
        """
        if self._is_own:
            return parsed_widths(self.edit.text())
        return list(self._sizes.values())[self.box.currentIndex()]

    @property
    def offered(self) -> list[tuple[int, ...]]:
        """All widths that are shown, own ones included if they can be."""
        try:
            return [*self._sizes.values(), self.widths]
        except UserError:
            return list(self._sizes.values())

    def offer(self, network: Network) -> None:
        """Offer the sizes of a network."""
        self._sizes = {size: network.widths(factor) for size, factor in SIZES.items()}

    def show_parameters(self, parameters: Mapping[tuple[int, ...], int]) -> None:
        """Say how many parameters those widths make that are known."""
        for number, (size, widths) in enumerate(self._sizes.items()):
            count = parameters.get(widths)
            told = "" if count is None else f", {count / 1e6:.1f} M parameters"
            self.box.setItemText(number, f"{size}: {widths[0]} … {widths[-1]}{told}")

    @property
    def _is_own(self) -> bool:
        return bool(self.box.currentIndex() == len(SIZES))

    def _on_choice(self, _: int) -> None:
        if self._is_own and not self.edit.text():
            self.edit.setText(", ".join(map(str, next(iter(self._sizes.values())))))
        self.edit.setVisible(self._is_own)
        self.changed.emit()
