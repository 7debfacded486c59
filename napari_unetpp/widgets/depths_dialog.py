"""The window "How deep?": figures of each head, the recommended one, and a button that takes it."""

from __future__ import annotations

import math
from collections.abc import Callable

from napari.components import LayerList
from napari.layers import Labels, Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDialog,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_unetpp.evaluation.recommend import TOLERANCE, DepthRow, Depths, recommend
from napari_unetpp.widgets.depths_plot import DepthsPlot
from napari_unetpp.widgets.depths_table import DepthsTable, column_names
from napari_unetpp.widgets.layer_box import LayerBox

WIDTH = 640


class DepthsDialog(QDialog):
    """Ask what to compare with, show what was measured, and offer to take a head.

    Parameters
    ----------
    title : str
        Which model, on which image.
    deepest : str
        The model's deepest head, like "L4".
    layers : LayerList
        The viewer's.
    fits : callable
        Says of a layer whether it may be masks of the image.
    parent : QWidget, optional
        As in Qt.
    """

    measure_clicked = Signal()
    cancel_clicked = Signal()
    used = Signal(str)
    """The head to be used, like "L2", or "ensemble"."""

    def __init__(
        self,
        title: str,
        deepest: str,
        layers: LayerList,
        fits: Callable[[Layer], bool],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"How deep? {title}")
        self.mask_box = LayerBox(layers, Labels, fits, f"no masks: agreement with {deepest}")
        self.button = QPushButton("Measure")
        self.bar = QProgressBar()
        self.table = DepthsTable()
        self.plot = DepthsPlot()
        self.tolerance_box = QDoubleSpinBox()
        self.verdict = QLabel()
        self.note = QLabel()
        self.use_button = QPushButton("Use")
        self.close_button = QPushButton("Close")
        self.depths: Depths | None = None
        self._running = False
        self._lay_out()
        self.button.clicked.connect(self._on_click)
        self.tolerance_box.valueChanged.connect(self._recommend)
        self.table.currentCellChanged.connect(self._on_row)
        self.use_button.clicked.connect(self._on_use)
        self.close_button.clicked.connect(self.close)
        self.show_running(False)
        self._show_figures(False)

    @property
    def recommended(self) -> DepthRow | None:
        """The recommended head, if there is one."""
        if self.depths is None:
            return None
        return recommend(self.depths.rows, self.tolerance_box.value())

    def show_running(self, running: bool) -> None:
        """Turn Measure into Cancel and back."""
        self._running = running
        self.button.setText("Cancel" if running else "Measure")
        self.mask_box.setEnabled(not running)
        self.bar.setVisible(running)
        self.bar.setRange(0, 0 if running else 1000)  # busy, until the first head
        if running:
            self.say("Loading the model …")

    def show_progress(self, fraction: float) -> None:
        """Show how far it is."""
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(fraction * 1000))
        self.say("Measuring every head on this device …")

    def show_depths(self, depths: Depths, threshold: float, right: str) -> None:
        """Show what was measured.

        `threshold` is the probability from which a pixel belongs to a mask, and `right` says where
        the masks that are compared with are right, like "edited planes".
        """
        self.depths = depths
        self.table.show_rows(depths)
        self._show_figures(True)
        self._recommend()
        self.say(_note(depths, threshold, right))
        self.adjustSize()

    def say_cancelled(self) -> None:
        """Nothing new was measured."""
        before = self.depths is not None
        self.say("Cancelled; the figures are those of before." if before else "Cancelled.")

    def say(self, sentence: str) -> None:
        """Put a sentence under the figures."""
        self.note.setText(sentence)

    def _recommend(self) -> None:
        """With another tolerance nothing is measured again."""
        if self.depths is None:
            return
        rows, tolerance = self.depths.rows, self.tolerance_box.value()
        chosen = self.recommended
        head = "" if chosen is None else chosen.head
        best = max((row.iou for row in rows if not math.isnan(row.iou)), default=math.nan)
        self.plot.show_rows(rows, head, best - tolerance / 100, names=column_names(self.depths))
        self.verdict.setText(self.depths.sentence(tolerance))
        self.table.mark(head)
        self._on_row()

    def _on_row(self) -> None:
        head = self.table.head
        self.use_button.setEnabled(bool(head))
        self.use_button.setText(f"Use {head}".rstrip())

    def _on_use(self) -> None:
        self.used.emit(self.table.head)

    def _on_click(self) -> None:
        (self.cancel_clicked if self._running else self.measure_clicked).emit()

    def _show_figures(self, there: bool) -> None:
        for widget in (self.table, self.plot, self.verdict, self._tolerance_row):
            widget.setVisible(there)
        self.use_button.setEnabled(there)

    def _lay_out(self) -> None:
        self.setMinimumWidth(WIDTH)
        self.mask_box.setToolTip(
            "Labels of this image that are right. Of masks that you corrected, just the planes "
            "count that you edited or marked as checked"
        )
        self.button.setToolTip("Run every head on a part of the image, and time it")
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.tolerance_box.setRange(0, 100)
        self.tolerance_box.setDecimals(1)
        self.tolerance_box.setSingleStep(0.5)
        self.tolerance_box.setValue(TOLERANCE)
        self.tolerance_box.setSuffix(" IoU points")
        self.tolerance_box.setToolTip("How much the recommended head may lose against the best")
        for label in (self.verdict, self.note):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        font = self.verdict.font()
        font.setBold(True)
        self.verdict.setFont(font)
        self.verdict.setMinimumHeight(2 * self.verdict.fontMetrics().lineSpacing())
        for button in (self.button, self.use_button, self.close_button):
            button.setAutoDefault(False)  # Enter in the tolerance takes no head

        masks = QHBoxLayout()
        masks.addWidget(QLabel("Compare with"))
        masks.addWidget(self.mask_box, stretch=1)
        masks.addWidget(self.button)
        self._tolerance_row = QWidget()
        tolerance = QHBoxLayout(self._tolerance_row)
        tolerance.setContentsMargins(0, 0, 0, 0)
        tolerance.addWidget(QLabel("The cheapest head within"))
        tolerance.addWidget(self.tolerance_box)
        tolerance.addWidget(QLabel("of the best"))
        tolerance.addStretch()
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.use_button)
        buttons.addWidget(self.close_button)
        column = QVBoxLayout(self)
        column.addLayout(masks)
        column.addWidget(self.bar)
        column.addWidget(self.table)
        column.addWidget(self.plot)
        column.addWidget(self._tolerance_row)
        column.addWidget(self.verdict)
        column.addWidget(self.note)
        column.addLayout(buttons)


def _note(depths: Depths, threshold: float, right: str) -> str:
    """What was measured, and how."""
    unit = "pixels" if depths.dims == 2 else "voxels"
    tile = " × ".join(map(str, depths.tile))
    against = f"against {depths.compared} ({right})"
    if depths.agreement:
        against = (
            f"against {depths.deepest}, so they tell how alike the heads are and not how right"
        )
    return (
        f"Looked at: {depths.part}. IoU and Dice: {against}; masks from a probability of "
        f"{threshold:.2f}. Time: of the network alone, on {depths.device}, on a tile of {tile} "
        f"{unit}. Memory: counted, of that tile."
    )
