"""What binds fine-tuning to the rest of the dock: its masks, its image, its results."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.inference.axes import Index
from napari_unetpp.models.header import read_digest
from napari_unetpp.training.messages import FinetuneEvent, Result
from napari_unetpp.widgets.finetune_panel import FinetunePanel
from napari_unetpp.widgets.finetuning import Finetuning, Plan
from napari_unetpp.widgets.flip import Flip
from napari_unetpp.widgets.geometry import channel_on_screen, index_on_screen
from napari_unetpp.widgets.keeper import Keeper
from napari_unetpp.widgets.mask import Mask
from napari_unetpp.widgets.recovery import Recovery
from napari_unetpp.widgets.result_layer import ResultLayer
from napari_unetpp.widgets.results import Results

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
        self.keeper = Keeper(self.store, self)
        self.finetuning = Finetuning(self.store, self.keeper, self)
        self.recovery = Recovery(viewer, self.store, self.keeper, self)
        self.flip = Flip()
        self._goes_on, self._is_open = False, True
        self._result: Result | None = None
        self._versions: tuple[str, str] | None = None  # the parent and its new version
        self._connect()
        self._on_model()
        for layer in viewer.layers:
            if isinstance(layer, Labels):
                self._watch_quietly(layer)

    @property
    def running(self) -> bool:
        """Whether a fine-tuning is on."""
        return self.finetuning.running

    def watch(self, results: Results, made: ResultLayer) -> None:
        """Keep what the user paints in a result layer."""
        layer = made.layer
        if not isinstance(layer, Labels):
            return
        try:
            mask = Mask(
                layer,
                results.image,
                results.heads.planes,
                store=self.store,
                model=results.provenance["model"],
                channel=results.provenance["channel"],
                made=made,
            )
        except UserError:
            return  # the model is gone: nothing can be learnt for it
        self.keeper.watch(mask)

    def start(self, *, go_on: bool = False) -> None:
        """Fine-tune; with `go_on` the next plane or image is segmented afterwards."""
        if self.running or self.finetuning.keeping:
            return
        self._goes_on = go_on
        try:
            self._watch_chosen()
            plan = self._plan()
        except UserError as error:
            show_error(str(error))
            return
        self._result = None
        self.panel.show_choices(keep=False, undo="", flip=False)
        self.panel.show_running(True)
        self.finetuning.start(plan)

    def toggle_undo(self) -> None:
        """Back to the version before, or forth again; both stay in the store."""
        if self._versions is None:
            return
        parent, version = self._versions
        names = self.segment_panel.model_box
        back = names.name == version
        target = parent if back else version
        if target not in self.store.names():
            show_error(f"The model {target} was removed, so it can't be chosen: choose another.")
            return
        names.refresh(target)
        self.flip.show("before" if back else "after")
        if self._result is not None:
            other = version if back else parent
            self.panel.show_result(self._result, f"{target} is used now; {other} is kept, too.")
        self._show_choices()

    def open(self, is_open: bool) -> None:
        """Have the process ready when the part of the dock is opened."""
        if is_open:
            self.finetuning.trainer.warm()
            self.panel.show_curve()

    def turn(self) -> None:
        """Show the masks of the other version."""
        self.flip.turn()

    def mark_checked(self) -> None:
        """The plane on screen is right as it is."""
        try:
            mask = self._watch_chosen()
        except UserError as error:
            show_error(str(error))
            return
        if mask is None:
            show_error("There is no mask to mark as checked: segment the image first.")
            return
        index = index_on_screen(mask.image, self.viewer.dims, mask.planes)
        if not mask.is_complete(index):
            show_error(f"{_plane_text(mask, index)} isn't segmented as a whole: do that first.")
            return
        self.keeper.mark_checked(mask, index)
        told = "right as it is" if index in mask.checked else "not checked"
        self.panel.say(f"{_plane_text(mask, index)} is marked as {told}.")

    def segmented(self, results: Results | None) -> None:
        """A run ended: these are the new masks."""
        if results is not None and self._versions is not None:
            layers = [m.layer for m in results.layers.values() if m.layer.visible]
            if results.provenance["model"] == self._versions[1]:
                self.flip.after = layers
                self.flip.show("after")
            self._show_choices()

    def close(self) -> None:
        """End what is on; what is painted is saved."""
        self._is_open = False
        self.viewer.layers.events.removed.disconnect(self._on_removed)
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
            lineage=spec.lineage(read_digest(self.store.path(name))),
            lesson=wishes.lesson,
            minutes=wishes.minutes,
            depth=wishes.depth,
            start=wishes.start,
            device=panel.device_box.currentText(),
            normalisation=None if background == "auto" else normalisation,
        )

    def _watch_chosen(self) -> Mask | None:
        """Keep the chosen layer, too, if it isn't one of the dock's own."""
        layer = self.panel.chosen_mask
        return None if layer is None else self._watch(layer)

    def _watch(self, layer: Labels) -> Mask:
        there = self.keeper.mask_of(layer)
        image = self.segment_panel.image
        if there is not None and (there.is_made or image is None or there.image is image):
            return there
        request = self.segment_panel.request()
        channel = channel_on_screen(request.image, self.viewer.dims, request.planes)
        mask = Mask(
            layer,
            request.image,
            request.planes,
            store=self.store,
            model=request.model,
            channel=channel,
        )
        self.keeper.forget(layer)  # it was taken for the mask of another image
        self.keeper.watch(mask)
        return mask

    def _on_chosen(self, layer: Any) -> None:
        """Keep what is painted in a layer of the user's own from when it is chosen."""
        if layer is not None:  # later: one of the dock's own is about to be watched as such
            QTimer.singleShot(0, partial(self._watch_quietly, layer))

    def _watch_quietly(self, layer: Labels) -> None:
        if self._is_open and layer in self.viewer.layers and self.keeper.mask_of(layer) is None:
            with suppress(UserError):  # it is told when the layer is used
                self._watch(layer)

    def _on_event(self, event: FinetuneEvent) -> None:
        assert self.finetuning.plan is not None
        self.panel.show_event(event, self.finetuning.plan.minutes)
        if event.notice:
            show_warning(event.notice)

    def _on_decided(self, result: Result) -> None:
        self._result = result
        better = result.verdict.outcome == "better"
        model = self.finetuning.plan.model if self.finetuning.plan else ""
        ending = "" if better else f"Not kept; {model} is used as before."
        self.panel.show_result(result, ending)
        self.panel.show_choices(keep=not better, undo="", flip=False)
        self.panel.say(f"Done · {result.seconds:.0f} s · {result.steps} steps")
        if self._goes_on and not better:
            self.next_wanted.emit()

    def _on_kept(self, name: str) -> None:
        assert self.finetuning.plan is not None
        self._versions = (self.finetuning.plan.model, name)
        if self._result is not None:
            self.panel.show_result(self._result, f"Kept as {name}, which is used now.")
        self.flip = Flip(before=self._masks_on_screen())
        self.segment_panel.model_box.refresh(name)
        self._show_choices()
        (self.next_wanted if self._goes_on else self.segment_wanted).emit()

    def _on_ended(self) -> None:
        self.panel.show_running(False)
        if self.finetuning.trainer.result is None:
            stopped = self.finetuning.trainer.stopped
            self.panel.say("Stopped before anything was learnt." if stopped else "")

    def _on_keep(self) -> None:
        self.panel.show_choices(keep=False, undo="", flip=False)
        self.finetuning.keep()

    def _on_refused(self, sentence: str) -> None:
        show_error(sentence)
        if self.finetuning.candidate is not None and not self.running:
            self.panel.show_choices(keep=True, undo="", flip=False)  # it can be tried again

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
        self.panel.offer_depths(spec.depth)
        self.offer_recovery()

    def offer_recovery(self) -> None:
        """Look for corrections of the chosen image that no layer shows."""
        self.panel.offer_restore(self.recovery.look(self.segment_panel))

    def _on_restore(self) -> None:
        try:
            self.recovery.restore(self.segment_panel)
        except UserError as error:
            show_error(str(error))
        self.offer_recovery()

    def _on_removed(self, event: Any) -> None:
        if isinstance(event.value, Labels):
            self.keeper.forget(event.value)
        self.flip.forget(event.value)

    def _masks_on_screen(self) -> list[Labels]:
        """The visible masks of the chosen image."""
        masks = [self.keeper.mask_of(layer) for layer in self.viewer.layers if layer.visible]
        image = self.segment_panel.image
        return [mask.layer for mask in masks if mask is not None and mask.image is image]

    def _show_choices(self) -> None:
        if self._versions is None:
            return
        _, version = self._versions
        undo = "Undo" if self.segment_panel.model_box.name == version else "Redo"
        self.panel.show_choices(keep=False, undo=undo, flip=self.flip.ready)

    def _connect(self) -> None:
        panel, finetuning = self.panel, self.finetuning
        panel.finetune_clicked.connect(partial(self.start, go_on=False))
        panel.stop_clicked.connect(finetuning.stop)
        panel.keep_clicked.connect(self._on_keep)
        panel.undo_clicked.connect(self.toggle_undo)
        panel.flip_clicked.connect(self.turn)
        panel.checked_clicked.connect(self.mark_checked)
        panel.restore_clicked.connect(self._on_restore)
        panel.mask_box.layer_changed.connect(self._on_chosen)
        finetuning.trainer.stepped.connect(self._on_event)
        finetuning.refused.connect(self._on_refused)
        finetuning.failed.connect(self._on_failed)
        finetuning.decided.connect(self._on_decided)
        finetuning.kept.connect(self._on_kept)
        finetuning.ended.connect(self._on_ended)
        self.keeper.changed.connect(self._on_edited)
        self.segment_panel.model_box.model_changed.connect(self._on_model)
        self.segment_panel.image_changed.connect(self.offer_recovery)
        self.viewer.layers.events.removed.connect(self._on_removed)


def _plane_text(mask: Mask, index: Index) -> str:
    if not index:
        return str(mask.image.name)
    place = ", ".join(
        f"{axis} {position}" for axis, position in zip(mask.planes.outer_axes, index, strict=True)
    )
    return f"{mask.image.name} at {place}"
