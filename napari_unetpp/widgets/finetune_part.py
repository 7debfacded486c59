"""What binds fine-tuning to the rest of the dock: its masks, its image, its results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QObject, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.training.messages import FinetuneEvent, Result
from napari_unetpp.widgets.finetune_panel import FinetunePanel
from napari_unetpp.widgets.finetuning import Finetuning
from napari_unetpp.widgets.keeper import Keeper
from napari_unetpp.widgets.masks import Masks
from napari_unetpp.widgets.plan import NewModel, Plan
from napari_unetpp.widgets.recovery import Recovery
from napari_unetpp.widgets.result_layer import ResultLayer
from napari_unetpp.widgets.results import Results
from napari_unetpp.widgets.versions import Versions

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_unetpp.widgets.segment_panel import SegmentPanel


class FinetunePart(QObject):
    """Fine-tunes the chosen model on what the user painted, and has the image segmented again.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    segment_panel : SegmentPanel
        Where image, model and device are chosen.
    parent : QObject, optional
        As in Qt.
    """

    segment_wanted = Signal()
    """The new version is chosen: segment the image with it."""
    next_wanted = Signal()
    """Go to the next plane or image and segment it."""

    def __init__(
        self, viewer: ViewerModel, segment_panel: SegmentPanel, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.viewer, self.segment_panel = viewer, segment_panel
        self.store = segment_panel.model_box.store
        self.panel = FinetunePanel(viewer.layers)
        self.keeper = Keeper(self.store, viewer.layers, self)
        self.masks = Masks(viewer, segment_panel, self.panel.mask_box, self.keeper, self)
        self.finetuning = Finetuning(self.store, self.keeper, self)
        self.recovery = Recovery(viewer, self.store, self.keeper, self)
        self.versions = Versions(
            self.store, segment_panel.model_box, self.panel, lambda: self.finetuning.waits
        )
        self._goes_on = False
        self._connect()
        self._on_model()

    @property
    def running(self) -> bool:
        """Whether a fine-tuning is on."""
        return self.finetuning.running

    @property
    def busy(self) -> bool:
        """Whether a fine-tuning is on, or what came of one is being kept."""
        return self.running or self.finetuning.keeping

    def watch(self, results: Results, made: ResultLayer) -> None:
        """Keep what the user paints in a result layer."""
        self.masks.watch_result(results, made)

    def start(self, *, go_on: bool = False) -> None:
        """Fine-tune; with `go_on` the next plane or image is segmented afterwards."""
        self._start(lambda plan: plan, go_on=go_on)

    def make(self, new: NewModel, minutes: float) -> bool:
        """Train a new model from nothing on the same masks; gives whether that began."""
        return self._start(lambda plan: plan.making(new, minutes))

    def _start(self, planned: Callable[[Plan], Plan], *, go_on: bool = False) -> bool:
        if self.busy:
            return False
        self._goes_on = go_on
        try:
            plan = planned(self._plan())
            self.masks.chosen()
        except UserError as error:
            show_error(str(error))
            return False
        self.versions.begin()
        self.panel.show_running(True)
        self.finetuning.start(plan)
        return True

    def open(self, is_open: bool) -> None:
        """Have the process ready when the part of the dock is opened."""
        if is_open:
            self.finetuning.trainer.warm()
            self.panel.show_curve()

    def turn(self) -> None:
        """Show the masks of the other version."""
        self.versions.flip.turn()

    def mark_checked(self) -> None:
        """The plane on screen is right as it is."""
        try:
            self.panel.say(self.masks.mark_checked())
        except UserError as error:
            show_error(str(error))

    def segmented(self, results: Results | None) -> None:
        """A run ended: these are the new masks."""
        if results is None:
            return
        if self.versions.segmented(results):
            self.masks.remove_outdated(results, self.versions.pair)
        self.masks.choose(results)

    def close(self) -> None:
        """End what is on; what is painted is saved."""
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self.masks.close()
        self.recovery.close()
        self.finetuning.close()
        self.keeper.close()
        self.panel.disconnect_layers()

    def _plan(self) -> Plan:
        panel = self.segment_panel
        name = panel.model_box.name
        spec = self.store.spec(name)
        wishes = self.panel.wishes()
        background = panel.background_box.currentText()
        normalisation = spec.normalisation.model_copy(update={"background": background})
        return Plan(
            model=name,
            lineage=self.store.lineage(name),
            lesson=wishes.lesson,
            minutes=wishes.minutes,
            depth=wishes.depth,
            start=wishes.start,
            device=panel.device_box.currentText(),
            normalisation=None if background == "auto" else normalisation,
        )

    def _on_event(self, event: FinetuneEvent) -> None:
        plan = self.finetuning.plan
        assert plan is not None
        self.panel.show_event(event, plan.minutes, is_new=plan.new is not None)
        if event.notice:
            show_warning(event.notice)

    def _on_decided(self, result: Result) -> None:
        plan = self.finetuning.plan
        new = plan.new.name if plan and plan.new else ""
        self.versions.decided(result, plan.model if plan else "", new)
        if self._goes_on and not result.verdict.is_kept:
            self.next_wanted.emit()

    def _on_kept(self, name: str) -> None:
        plan = self.finetuning.made_by
        assert plan is not None
        if plan.new is not None:
            self.masks.hand_over(plan.lineage, self.store.lineage(name))
        self.versions.kept(name, self.segment_panel.image, self.masks.on_screen())
        (self.next_wanted if self._goes_on else self.segment_wanted).emit()

    def _on_ended(self) -> None:
        self.panel.show_running(False)
        if self.finetuning.trainer.result is None:
            stopped = self.finetuning.trainer.stopped
            self.panel.say("Stopped before anything was learnt." if stopped else "")
            self.versions.show_choices()  # those of before

    def _on_keep(self) -> None:
        self.finetuning.keep()
        self.versions.show_choices()

    def _on_refused(self, sentence: str) -> None:
        show_error(sentence)
        self.versions.show_choices()  # what could not be kept can be tried again

    def _on_failed(self, error: Exception) -> None:
        raise error  # a bug: napari shows it with its traceback

    def _on_edited(self) -> None:
        kept = self.keeper.kept.values()
        self.panel.show_corrected(len(kept), len({k.mask.identity for k in kept}))
        layer = self.keeper.last_edited
        if layer is not None and not self.running and layer in self.viewer.layers:
            self.panel.mask_box.layer = layer

    def _on_model(self) -> None:
        try:
            spec = self.segment_panel.model_box.spec()
        except UserError:
            return  # the dock's first part says it
        self.panel.form.offer_depths(spec.heads)
        self.versions.show_choices()
        self.offer_recovery()

    def offer_recovery(self) -> None:
        """Look for corrections of the chosen image that no layer shows."""
        self.panel.offer_restore(self.recovery.look(self.segment_panel))

    def _on_restore(self) -> None:
        try:
            self.recovery.restore(self.segment_panel)
        except UserError as error:
            show_error(str(error))

    def _on_restore_failed(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error  # a bug: napari shows it with its traceback
        show_error(str(error))

    def _on_removed(self, event: Any) -> None:
        self.versions.forget(event.value)

    def _connect(self) -> None:
        panel, finetuning = self.panel, self.finetuning
        panel.finetune_clicked.connect(partial(self.start, go_on=False))
        panel.stop_clicked.connect(finetuning.stop)
        panel.outcome.keep_clicked.connect(self._on_keep)
        panel.outcome.undo_clicked.connect(self.versions.undo)
        panel.outcome.redo_clicked.connect(self.versions.redo)
        panel.outcome.flip_clicked.connect(self.turn)
        panel.checked_clicked.connect(self.mark_checked)
        panel.restore_clicked.connect(self._on_restore)
        finetuning.trainer.stepped.connect(self._on_event)
        finetuning.refused.connect(self._on_refused)
        finetuning.failed.connect(self._on_failed)
        finetuning.decided.connect(self._on_decided)
        finetuning.kept.connect(self._on_kept)
        finetuning.ended.connect(self._on_ended)
        self.keeper.changed.connect(self._on_edited)
        self.masks.told.connect(show_warning)
        self.recovery.failed.connect(self._on_restore_failed)
        self.recovery.ended.connect(self.offer_recovery)
        self.segment_panel.model_box.model_changed.connect(self._on_model)
        self.segment_panel.image_changed.connect(self.offer_recovery)
        self.viewer.layers.events.removed.connect(self._on_removed)
