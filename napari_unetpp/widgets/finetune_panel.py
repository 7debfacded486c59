"""The dock's third part: which masks to learn from, Fine-tune, and what came of it."""

from __future__ import annotations

from napari.components import LayerList
from napari.layers import Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_unetpp.training.messages import FinetuneEvent
from napari_unetpp.widgets.curve import Curve
from napari_unetpp.widgets.finetune_form import FinetuneForm, Wishes
from napari_unetpp.widgets.fold import Fold
from napari_unetpp.widgets.layer_box import LayerBox
from napari_unetpp.widgets.lesson import LEARN
from napari_unetpp.widgets.outcome import Outcome

_LEARN_TIPS = {
    "edited planes": "Every plane that you edited or marked as checked is right all over",
    "around edits": "Just near your edits the mask is right",
    "checked planes": "Just the planes that you marked as checked, which are right all over",
    "scribbles": "A layer of your own: 0 is unlabelled, 1 background, 2 and more the classes",
}


class FinetunePanel(QWidget):
    """Ask what to learn from and show what is learnt.

    Parameters
    ----------
    layers : LayerList
        The viewer's.
    parent : QWidget, optional
        As in Qt.
    """

    finetune_clicked = Signal()
    stop_clicked = Signal()
    checked_clicked = Signal()
    restore_clicked = Signal()

    def __init__(self, layers: LayerList, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.mask_box = LayerBox(layers, Labels)
        self.learn_box = QComboBox()
        self.checked_button = QPushButton("✓ checked")
        self.corrected_label = QLabel()
        self.restore_row = QWidget()
        self.restore_label = QLabel()
        self.restore_button = QPushButton("Restore")
        self.button = QPushButton("Fine-tune")
        self.bar = QProgressBar()
        self.message = QLabel()
        self.curve: Curve | None = None
        self.outcome = Outcome()
        self.form = FinetuneForm()
        self._running = False
        self._lay_out()
        self._connect()
        self.show_running(False)
        self.say("")
        self.offer_restore("")

    def wishes(self) -> Wishes:
        """What the user asks for."""
        return self.form.wishes(LEARN[self.learn_box.currentIndex()])

    def offer_restore(self, sentence: str) -> None:
        """Offer to bring corrections back; an empty sentence takes the offer away."""
        self.restore_label.setText(sentence)
        self.restore_row.setVisible(bool(sentence))

    def show_corrected(self, planes: int, layers: int) -> None:
        """Say how much there is to learn from."""
        if planes:
            where = f" in {layers} layers" if layers > 1 else ""
            text = f"{planes} plane{'s' * (planes > 1)} corrected{where}, saved"
        else:
            text = "Paint where a mask is wrong; edits are saved as you go."
        self.corrected_label.setText(text)

    def show_running(self, running: bool) -> None:
        """Turn Fine-tune into Stop and back."""
        self._running = running
        self.button.setText("Stop (keep best)" if running else "Fine-tune")
        self.button.setEnabled(True)
        self.bar.setVisible(running)
        self.bar.setRange(0, 0 if running else 1000)  # busy, until the first step
        if running:
            self.show_curve().clear()
            self.show_curve().setVisible(True)
            self.outcome.verdict.setVisible(False)
            self.say("Loading …")

    def show_event(self, event: FinetuneEvent, minutes: float, *, is_new: bool = False) -> None:
        """Show how far a fine-tuning, or the training of a new model, is."""
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(event.fraction * 1000))
        left = max(0.0, minutes * 60 - event.seconds)
        if event.fraction > 0:  # it may be over sooner
            left = min(left, event.seconds * (1 - event.fraction) / event.fraction)
        loss = "" if event.loss is None else f" · loss {event.loss:.2f}"
        self.say(f"Step {event.step}{loss} · {left:.0f} s left · {event.device}", event.reason)
        self.show_curve().add(event, is_new=is_new)

    def say(self, sentence: str, tip: str = "") -> None:
        """Put a sentence under the button."""
        self.message.setText(sentence)
        self.message.setVisible(bool(sentence))
        self.message.setToolTip(tip)

    def disconnect_layers(self) -> None:
        """Let go of the viewer's layers, before the panel is thrown away."""
        self.mask_box.disconnect_layers()

    def show_curve(self) -> Curve:
        """The learning curve, made at the first call: that takes a moment."""
        if self.curve is None:
            self.curve = Curve()
            self.curve.setVisible(False)
            self._column.insertWidget(self._column.indexOf(self.outcome), self.curve)
        return self.curve

    def _lay_out(self) -> None:
        expand = QSizePolicy.Policy.Expanding
        self.mask_box.setSizePolicy(expand, QSizePolicy.Policy.Fixed)
        self.learn_box.addItems(LEARN)
        for number, learn in enumerate(LEARN):
            self.learn_box.setItemData(number, _LEARN_TIPS[learn], Qt.ItemDataRole.ToolTipRole)
        self.learn_box.setToolTip("Which pixels of your masks are right")
        self.checked_button.setToolTip("Mark the plane on screen as right as it is (Alt+M)")
        self.button.setToolTip(
            "Learn from the corrections; a part of them is held out to tell whether it helped. "
            "Alt+T does it and goes on to the next plane or image"
        )
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        for label in (self.message, self.corrected_label, self.restore_label):
            label.setWordWrap(True)

        learn_row = _row(self.learn_box, self.checked_button)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Masks", self.mask_box)
        form.addRow("Learn from", learn_row)
        restore = QHBoxLayout(self.restore_row)
        restore.setContentsMargins(0, 0, 0, 0)
        restore.addWidget(self.restore_label, stretch=1)
        restore.addWidget(self.restore_button)

        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addLayout(form)
        for widget in (
            self.corrected_label,
            self.restore_row,
            self.button,
            self.bar,
            self.message,
            self.outcome,
        ):
            self._column.addWidget(widget)
        self._column.addWidget(Fold("Advanced", self.form))

    def _connect(self) -> None:
        self.button.clicked.connect(self._on_click)
        self.checked_button.clicked.connect(self.checked_clicked)
        self.restore_button.clicked.connect(self.restore_clicked)

    def _on_click(self) -> None:
        (self.stop_clicked if self._running else self.finetune_clicked).emit()


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    for number, widget in enumerate(widgets):
        row.addWidget(widget, stretch=1 if number == 0 else 0)
    return row
