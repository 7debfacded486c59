"""The learning curve: IoU of each head on held-out corrections, and the loss, while they come."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_unetpp.training.messages import HELD_OUT, FinetuneEvent
from napari_unetpp.widgets.plots import GREY, make_quiet
from napari_unetpp.widgets.result_layer import COLOURS, OTHER_COLOURS

HEIGHT = 190
DRAW_EVERY = 0.5
"""Seconds between drawings of the loss: steps may be many, and quick."""


class Curve(QWidget):
    """Two plots over the time: IoU in the colours of the heads above, and the loss below.

    Dashed lines say what the IoU was before.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        import pyqtgraph  # here, as it takes a quarter of a second that only this part needs

        self._graphics = pyqtgraph.GraphicsLayoutWidget()
        self._graphics.setBackground(None)
        self._graphics.ci.layout.setContentsMargins(0, 0, 0, 0)
        self.setFixedHeight(HEIGHT)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._graphics)
        self._iou, self._loss = (
            self._graphics.addPlot(row, 0, viewBox=pyqtgraph.ViewBox(enableMenu=False))
            for row in (0, 1)
        )
        self._loss.setXLink(self._iou)
        self._graphics.ci.layout.setRowStretchFactor(0, 3)
        self._graphics.ci.layout.setRowStretchFactor(1, 2)
        for plot, name in ((self._iou, "IoU"), (self._loss, "loss")):
            plot.setLabel("left", name)
            plot.getAxis("left").setWidth(44)
            make_quiet(plot, self)
        self._loss.setLabel("bottom", "seconds")
        self._iou.getAxis("bottom").setStyle(showValues=False)
        self.clear()

    @property
    def heads(self) -> dict[str, list[float]]:
        """What is drawn: the IoU of each head, validation by validation."""
        return {head: list(values) for head, (_, values) in self._points.items()}

    @property
    def span(self) -> tuple[float, float]:
        """From which second to which the plots are shown."""
        start, stop = self._loss.viewRange()[0]
        return start, stop

    def clear(self) -> None:
        """Begin anew."""
        self._iou.clear()
        self._loss.clear()
        self._points: dict[str, tuple[list[float], list[float]]] = {}
        self._lines: dict[str, object] = {}
        self._losses: tuple[list[float], list[float]] = ([], [])
        self._loss_line = self._loss.plot(pen=GREY)
        self._drawn = -DRAW_EVERY

    def add(self, event: FinetuneEvent, *, is_new: bool = False) -> None:
        """Draw what an event tells; the curves of a new model don't begin with the one before."""
        if event.loss is not None:
            self._losses[0].append(event.seconds)
            self._losses[1].append(event.loss)
            if event.seconds - self._drawn > DRAW_EVERY or event.fraction >= 1:
                self._loss_line.setData(*self._losses)
                self._iou.setXRange(0, event.seconds, padding=0.02)  # of both, as they are linked
                self._drawn = event.seconds
        for head, iou in (event.scores or {}).get(HELD_OUT, {}).items():
            if event.step == 0:
                self._show_before(head, iou)
                if is_new:
                    continue
            times, values = self._points.setdefault(head, ([], []))
            times.append(event.seconds)
            values.append(iou)
            if head not in self._lines:
                pen = {"color": _colour(head), "width": 2}
                self._lines[head] = self._iou.plot(pen=pen)
            self._lines[head].setData(times, values)  # type: ignore[attr-defined]

    def _show_before(self, head: str, iou: float) -> None:
        import pyqtgraph
        from qtpy.QtCore import Qt

        pen = pyqtgraph.mkPen(_colour(head), style=Qt.PenStyle.DashLine)
        self._iou.addItem(pyqtgraph.InfiniteLine(iou, angle=0, pen=pen))


def _colour(head: str) -> str:
    return COLOURS.get(head, OTHER_COLOURS[0])
