"""IoU against time, a dot for each head in the colour of its layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_unetpp.evaluation.recommend import DepthRow
from napari_unetpp.widgets.plots import GREY, make_quiet
from napari_unetpp.widgets.result_layer import COLOURS, OTHER_COLOURS

HEIGHT = 210
DOT, RECOMMENDED_DOT = 11, 17
"""Diameters in pixels."""
GAP = "\u00a0" * 3
"""Between a dot and its name: spaces that aren't trimmed."""
ROOM = 0.12
"""Of the range along either axis, left free around the dots for their names."""


class DepthsPlot(QWidget):
    """A dot for each head: further left is faster, further up is better.

    A dashed line says from where on a head is good enough.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        import pyqtgraph  # here, as it takes a quarter of a second that only this part needs

        graphics = pyqtgraph.GraphicsLayoutWidget()
        graphics.setBackground(None)
        self.setFixedHeight(HEIGHT)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(graphics)
        self._plot = graphics.addPlot(viewBox=pyqtgraph.ViewBox(enableMenu=False))
        make_quiet(self._plot, self)
        self._plot.getAxis("left").setWidth(52)
        self.heads: dict[str, tuple[float, float]] = {}

    def show_rows(
        self, rows: Sequence[DepthRow], recommended: str, least: float, *, names: tuple[str, str]
    ) -> None:
        """Draw the heads that have an IoU.

        Parameters
        ----------
        rows : sequence of DepthRow
            The heads.
        recommended : str
            The one with a larger dot.
        least : float
            IoU from which a head is good enough.
        names : tuple of str
            What the axes show: time and IoU, as the table calls them.
        """
        import pyqtgraph
        from qtpy.QtCore import Qt

        self._plot.clear()
        self._plot.setLabel("bottom", names[0])
        self._plot.setLabel("left", names[1])
        self.heads = {
            row.head: (row.cost.milliseconds_per_megapixel, row.iou)
            for row in rows
            if not math.isnan(row.iou)
        }
        if not self.heads:
            return
        dashed = pyqtgraph.mkPen(GREY, style=Qt.PenStyle.DashLine)
        self._plot.addItem(pyqtgraph.InfiniteLine(least, angle=0, pen=dashed))
        for head, place in self.heads.items():
            self._add(head, place, is_recommended=head == recommended)
        times, values = zip(*self.heads.values(), strict=True)
        height = max(max(values) - min(*values, least), 0.01)
        self._plot.setXRange(0, max(times) * (1 + ROOM), padding=0)
        self._plot.setYRange(
            min(*values, least) - ROOM * height, max(values) + ROOM * height, padding=0
        )

    def _add(self, head: str, place: tuple[float, float], *, is_recommended: bool) -> None:
        import pyqtgraph

        colour = COLOURS.get(head, OTHER_COLOURS[0])
        size = RECOMMENDED_DOT if is_recommended else DOT
        pen = pyqtgraph.mkPen(GREY, width=2) if is_recommended else None
        self._plot.plot(
            [place[0]],
            [place[1]],
            pen=None,
            symbol="o",
            symbolSize=size,
            symbolBrush=colour,
            symbolPen=pen,
        )
        # The ensemble takes as long as the deepest head: their names stand on either side.
        is_right = head.startswith("L")
        text = f"{GAP}{head}" if is_right else f"{head}{GAP}"
        label = pyqtgraph.TextItem(text, color=colour, anchor=(0 if is_right else 1, 0.5))
        label.setPos(*place)
        self._plot.addItem(label, ignoreBounds=True)
