"""What binds "New model" to the rest of the dock: the chosen model, what is painted, Train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari.layers import Labels
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, Qt, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.widgets.finetuning import earlier_planes
from napari_unetpp.widgets.geometry import is_result
from napari_unetpp.widgets.kept import Kept
from napari_unetpp.widgets.lesson import LEARN
from napari_unetpp.widgets.new_model_dialog import NewModelDialog
from napari_unetpp.widgets.plan import NOTHING
from napari_unetpp.widgets.size_counter import SizeCounter

if TYPE_CHECKING:
    from napari_unetpp.widgets.finetune_part import FinetunePart
    from napari_unetpp.widgets.segment_panel import SegmentPanel

BUSY = "A training is on: stop it or wait for its end, then press Train."


class NewModelPart(QObject):
    """Has a model made from nothing, for the images of the chosen one.

    Parameters
    ----------
    segment_panel : SegmentPanel
        Where the model is chosen.
    finetune_part : FinetunePart
        Trains it, and knows what the user painted.
    parent : QObject, optional
        As in Qt.
    """

    started = Signal()
    """A training began."""

    def __init__(
        self,
        segment_panel: SegmentPanel,
        finetune_part: FinetunePart,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.dialog: NewModelDialog | None = None
        self.counter = SizeCounter(self)
        self._panel, self._finetune = segment_panel, finetune_part
        self._box = segment_panel.model_box
        self.counter.failed.connect(self._on_failed)
        self._box.new_clicked.connect(self.ask)
        self._box.model_changed.connect(self.close_dialog)
        finetune_part.keeper.gathered.connect(self._on_gathered)
        finetune_part.keeper.changed.connect(self._look)
        finetune_part.finetuning.ended.connect(self._look)
        finetune_part.panel.mask_box.layer_changed.connect(self._look)

    def ask(self) -> None:
        """Open the window."""
        if self.dialog is not None:
            self.dialog.raise_()
            return
        try:
            spec = self._box.spec()
        except UserError as error:
            show_error(str(error))
            return
        dialog = NewModelDialog(self._box.store, spec, self.counter, LEARN, self._panel)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        learn_box = self._finetune.panel.learn_box
        dialog.learn_box.setCurrentIndex(learn_box.currentIndex())
        dialog.learn_box.currentIndexChanged.connect(self._on_learn)
        dialog.train_clicked.connect(self._train)
        dialog.finished.connect(self._on_closed)
        self.dialog = dialog
        self._show_to_learn(list(self._finetune.keeper.kept.values()))
        self._look()
        dialog.show()

    def close_dialog(self) -> None:
        """Close the window, if it is open."""
        if self.dialog is not None:
            self.dialog.close()

    def close(self) -> None:
        """Close the window, and count nothing any more."""
        self.counter.close()
        self.close_dialog()

    def _train(self) -> None:
        assert self.dialog is not None
        if self._finetune.busy:
            self.dialog.say(BUSY)
            return
        try:
            new = self.dialog.new_model
        except UserError as error:  # the name was taken meanwhile
            self.dialog.say(str(error))
            return
        if self._finetune.make(new, self.dialog.minutes_box.value()):
            self.close_dialog()
            self.started.emit()

    def _look(self, *_: object) -> None:
        """Have everything painted on the disk, to say what there is to learn from."""
        if self.dialog is not None and not self._finetune.busy:
            self._finetune.keeper.gather(self._finetune.panel.wishes().lesson)

    def _on_gathered(self, kept: Sequence[Kept]) -> None:
        if self.dialog is not None:
            self._show_to_learn(kept)

    def _show_to_learn(self, kept: Sequence[Kept]) -> None:
        assert self.dialog is not None
        store, model = self._box.store, self._box.name
        try:
            lineage, before = store.lineage(model), earlier_planes(store, model)
        except UserError as error:
            self.dialog.show_to_learn("", str(error))
            return
        painted = {k.path.name for k in kept if lineage in k.mask.families}
        earlier = {path.name for path in before} - painted
        parts = [
            f"{_planes(len(painted))} that you painted" if painted else "",
            f"{_planes(len(earlier))} that {model} has learnt" if earlier else "",
            self._own_layer(kept),
        ]
        told = " and ".join(part for part in parts if part)
        self.dialog.show_to_learn(f"Learns from {told}." if told else "", "" if told else NOTHING)

    def _own_layer(self, kept: Sequence[Kept]) -> str:
        """The chosen mask, if it counts from Train on."""
        layer = self._finetune.panel.mask_box.layer
        there = any(k.mask.layer is layer for k in kept)
        if not isinstance(layer, Labels) or is_result(layer) or there:
            return ""
        return f"what is in the layer {layer.name}"

    def _on_learn(self, number: int) -> None:
        self._finetune.panel.learn_box.setCurrentIndex(number)
        self._look()

    def _on_failed(self, error: Exception) -> None:
        raise error  # a bug: napari shows it with its traceback

    def _on_closed(self) -> None:
        self.dialog = None


def _planes(count: int) -> str:
    return f"{count} plane{'s' * (count != 1)}"
