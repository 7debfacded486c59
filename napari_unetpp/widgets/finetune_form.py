"""How long, how deep and from what a fine-tuning learns: what a user seldom changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QSpinBox, QWidget

from napari_unetpp.widgets.lesson import LABELS, Learn, Lesson

AUTO = "auto"
STARTS = ("the chosen model", "nothing")
MINUTES = 2.0


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the panel asks for.

    Attributes
    ----------
    lesson : Lesson
        What is right in the masks.
    minutes : float
        Time to take.
    depth : int, optional
        The deepest head of the new version; by default the measured best for the device.
    start : {"model", "nothing"}
        Where to start from.
    """

    lesson: Lesson
    minutes: float
    depth: int | None
    start: Literal["model", "nothing"]


class FinetuneForm(QWidget):
    """Boxes for how it is learnt.

    Parameters
    ----------
    parent : QWidget, optional
        As in Qt.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.minutes_box = QDoubleSpinBox()
        self.minutes_box.setRange(0.1, 600)
        self.minutes_box.setSingleStep(0.5)
        self.minutes_box.setDecimals(1)
        self.minutes_box.setValue(MINUTES)
        self.minutes_box.setSuffix(" min")
        self.minutes_box.setToolTip("At the most: a fast GPU is done after 300 steps for each")
        self.depth_box = QComboBox()
        self.depth_box.setToolTip(
            "The deepest head of the new version; auto is all on a GPU. On a CPU it is L3 where "
            "the model is nearly right or better in its deeper heads, else L2, which learns faster"
        )
        self.start_box = QComboBox()
        self.start_box.addItems(STARTS)
        self.margin_box = QSpinBox()
        self.margin_box.setRange(1, 512)
        self.margin_box.setValue(Lesson().margin)
        self.margin_box.setSuffix(" px")
        self.margin_box.setToolTip("What is near, where it is learnt around the edits")
        self.labels_box = QComboBox()
        self.labels_box.addItems(LABELS)
        self.labels_box.setToolTip("What the numbers in a layer of your own are")
        form = QFormLayout(self)
        form.addRow("Time", self.minutes_box)
        form.addRow("Depth", self.depth_box)
        form.addRow("Start from", self.start_box)
        form.addRow("Margin", self.margin_box)
        form.addRow("Labels are", self.labels_box)

    def offer_depths(self, heads: Sequence[int]) -> None:
        """The heads that the chosen model has."""
        chosen = self.depth_box.currentText()
        self.depth_box.clear()
        self.depth_box.addItems([AUTO, *(f"L{k}" for k in heads)])
        self.depth_box.setCurrentText(chosen)

    def wishes(self, learn: Learn) -> Wishes:
        """What the user asks for, with what to learn from."""
        depth = self.depth_box.currentText()
        return Wishes(
            lesson=Lesson(
                learn=learn,
                labels=LABELS[self.labels_box.currentIndex()],
                margin=self.margin_box.value(),
            ),
            minutes=self.minutes_box.value(),
            depth=None if depth == AUTO else int(depth.removeprefix("L")),
            start="nothing" if self.start_box.currentIndex() == 1 else "model",
        )
