"""A table of heads: what each costs, and how right it is."""

from __future__ import annotations

import math

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_unetpp.evaluation.recommend import DepthRow, Depths
from napari_unetpp.widgets.heads_panel import swatch
from napari_unetpp.widgets.result_layer import COLOURS, OTHER_COLOURS

MARK = "✓ recommended"


class DepthsTable(QTableWidget):
    """A row for each head; one of them is chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        if (rows := self.verticalHeader()) is not None:
            rows.setVisible(False)
        self._heads: list[str] = []
        self._items: list[list[QTableWidgetItem]] = []

    @property
    def head(self) -> str:
        """The chosen one; empty if there is none."""
        row = self.currentRow()
        return self._heads[row] if 0 <= row < len(self._heads) else ""

    def show_rows(self, depths: Depths) -> None:
        """Show these figures."""
        time, iou = column_names(depths)
        names = ["head", time, "memory", "parameters", iou, "Dice", ""]
        self._heads = [row.head for row in depths.rows]
        self.setColumnCount(len(names))
        self.setHorizontalHeaderLabels(names)
        self.setRowCount(len(depths.rows))
        self._items = [[QTableWidgetItem(text) for text in (*_cells(r), "")] for r in depths.rows]
        for number, items in enumerate(self._items):
            items[0].setIcon(swatch(COLOURS.get(self._heads[number], OTHER_COLOURS[0])))
            for item in items[1:-1]:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column, item in enumerate(items):
                self.setItem(number, column, item)
        self._fit()

    def mark(self, head: str) -> None:
        """Mark the recommended head and choose it; an empty name marks none."""
        for other, items in zip(self._heads, self._items, strict=True):
            for item in items:
                font = item.font()
                font.setBold(other == head)
                item.setFont(font)
            items[-1].setText(MARK if other == head else "")
        self.setCurrentCell(self._heads.index(head) if head in self._heads else -1, 0)

    def _fit(self) -> None:
        """As high as the rows, which are few."""
        header = self.horizontalHeader()
        assert header is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        header.setHighlightSections(False)
        height = header.sizeHint().height() + 2 * self.frameWidth()
        self.setFixedHeight(height + sum(self.rowHeight(n) for n in range(self.rowCount())))


def column_names(depths: Depths) -> tuple[str, str]:
    """What time and IoU are called: by what they are measured."""
    return (
        "ms/megapixel" if depths.dims == 2 else "ms/megavoxel",
        f"IoU with {depths.deepest}" if depths.agreement else "IoU",
    )


def _cells(row: DepthRow) -> tuple[str, ...]:
    return (
        row.head,
        f"{row.cost.milliseconds_per_megapixel:,.0f}",
        f"{row.cost.memory / 1e6:,.0f} MB",
        f"{row.cost.parameters:,}",
        _score(row.iou),
        _score(row.dice),
    )


def _score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
