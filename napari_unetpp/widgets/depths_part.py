"""What binds "How deep?" to the rest of the dock: image, model, masks, and what is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Labels, Layer
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, Qt, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.recommend import Depths
from napari_unetpp.evaluation.remembered import choose, remember
from napari_unetpp.widgets.depths_dialog import DepthsDialog
from napari_unetpp.widgets.depths_run import DepthsRun, Question
from napari_unetpp.widgets.geometry import is_result, spanned_axis
from napari_unetpp.widgets.job import Request, channels_of, make_job
from napari_unetpp.widgets.mask import Mask
from napari_unetpp.widgets.spanning import with_axis

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_unetpp.widgets.finetune_part import FinetunePart
    from napari_unetpp.widgets.segment_panel import SegmentPanel


class DepthsPart(QObject):
    """Measures the heads of the chosen model on the chosen image, and takes one.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    segment_panel : SegmentPanel
        Where image, model and device are chosen.
    finetune_part : FinetunePart
        Knows which masks the user corrected.
    is_busy : callable
        Whether something else is being computed, so that times would be wrong.
    parent : QObject, optional
        As in Qt.
    """

    used = Signal(str)
    """The user took a head, like "L2", or "ensemble"."""

    def __init__(
        self,
        viewer: ViewerModel,
        segment_panel: SegmentPanel,
        finetune_part: FinetunePart,
        is_busy: Callable[[], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._panel, self._finetune = viewer, segment_panel, finetune_part
        self._store, self._is_busy = segment_panel.model_box.store, is_busy
        self._device = ""  # as it was asked for when the figures on screen were measured
        self.dialog: DepthsDialog | None = None
        self.run: DepthsRun | None = None
        segment_panel.image_changed.connect(self.close)
        segment_panel.model_box.model_changed.connect(self.close)
        finetune_part.panel.finetune_clicked.connect(self.cancel)

    @property
    def running(self) -> bool:
        """Whether something is being measured."""
        return self.run is not None

    def ask(self, threshold: Callable[[], float]) -> None:
        """Open the window for the chosen image and model, and measure.

        `threshold` gives the probability from which a pixel belongs to a mask.
        """
        if self.dialog is not None:
            self.dialog.raise_()
            return
        try:
            request = self._panel.request()
        except UserError as error:
            show_error(str(error))
            return
        dialog = DepthsDialog(
            f"{request.model} on {request.image.name}",
            self._panel.depth_row.choices[-1],
            self._viewer.layers,
            partial(_fits, request),
            self._panel,
        )
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if (suggested := self._suggested(request)) is not None:
            dialog.mask_box.layer = suggested
        dialog.measure_clicked.connect(partial(self._measure, threshold))
        dialog.cancel_clicked.connect(self.cancel)
        dialog.used.connect(self._on_used)
        dialog.finished.connect(self._on_closed)
        self.dialog = dialog
        dialog.show()
        self._measure(threshold)

    def cancel(self) -> None:
        """End what is being measured."""
        if self.run is not None:
            self.run.cancel()

    def close(self) -> None:
        """Close the window, and end what is being measured."""
        if self.dialog is not None:
            self.dialog.close()
            self._on_closed()

    def _measure(self, threshold: Callable[[], float]) -> None:
        if self.run is not None or self.dialog is None:
            return
        if self._is_busy():
            self.dialog.say("Something else is being computed: press Measure when that is done.")
            return
        try:
            question = self._question(threshold())
        except UserError as error:
            self.dialog.say(str(error))
            return
        self.run = DepthsRun(question, self)
        self.run.progressed.connect(self.dialog.show_progress)
        self.run.measured.connect(self._on_measured)
        self.run.failed.connect(self._on_failed)
        self.run.ended.connect(self._on_ended)
        self.dialog.show_running(True)
        self.run.start()

    def _question(self, threshold: float) -> Question:
        assert self.dialog is not None
        request, layer = self._panel.request(), self.dialog.mask_box.layer
        mask = self._mask(layer, request) if isinstance(layer, Labels) else None
        # Masks are of the image at full size; without any, what is shown is as good.
        request = replace(request, where="view", full_size=mask is not None)
        return Question(
            job=make_job(request, self._store, self._viewer),
            mask=mask,
            lesson=self._finetune.panel.wishes().lesson,
            threshold=threshold,
        )

    def _mask(self, layer: Labels, request: Request) -> Mask:
        """The layer as a mask; one of the user's own isn't learnt because it is compared with."""
        there = self._finetune.keeper.mask_of(layer)
        watched = there is not None and there.image is request.image and there.over is None
        if there is not None and watched and (there.counts or is_result(layer)):
            return there
        mask = Mask(
            layer,
            request.image,
            request.sources,
            request.layout,
            store=self._store,
            model=request.model,
            channels=channels_of(request, self._store, self._viewer.dims),
        )
        mask.counts = True
        return mask

    def _suggested(self, request: Request) -> Layer | None:
        """What the user painted last, else the newest labels of their own; not another image's."""
        keeper = self._finetune.keeper
        labels = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        fitting = [
            layer
            for layer in labels
            if _fits(request, layer)
            and ((mask := keeper.mask_of(layer)) is None or mask.is_free_for(request.image))
        ]
        painted = self._finetune.keeper.last_edited
        if painted in fitting:
            return painted
        own = [layer for layer in fitting if not is_result(layer)]
        return own[-1] if own else None

    def _on_measured(self, depths: Depths) -> None:
        assert self.run is not None
        if self.dialog is None:
            return
        question = self.run.question
        self.dialog.show_depths(depths, question.threshold, question.right)
        self._device = question.job.options.device
        self._try(lambda: remember(self._file(depths), depths, self._device))

    def _on_failed(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error  # a bug: napari shows it with its traceback
        if self.dialog is not None:
            self.dialog.show_running(False)
            self.dialog.say(str(error))

    def _on_ended(self) -> None:
        run, self.run = self.run, None
        assert run is not None
        run.deleteLater()
        if self.dialog is not None:
            self.dialog.show_running(False)
            if run.cancelled:
                self.dialog.say_cancelled()

    def _on_used(self, head: str) -> None:
        assert self.dialog is not None
        assert self.dialog.depths is not None
        path = self._file(self.dialog.depths)
        self._try(lambda: choose(path, head, self._device))
        self._panel.depth_row.take(head)
        self.used.emit(head)
        self.close()

    def _on_closed(self) -> None:
        if self.dialog is not None:
            self.dialog.mask_box.disconnect_layers()
            self.dialog = None
        if self.run is not None:  # it ends by itself; another window needn't wait for it
            self.run.failed.disconnect(self._on_failed)
            self.run.ended.disconnect(self._on_ended)
            self.run.ended.connect(self.run.deleteLater)
            self.run.cancel()
            self.run = None

    def _file(self, depths: Depths) -> Path:
        return self._store.depths_file(depths.digest)

    def _try(self, action: Callable[[], None]) -> None:
        """Remember something; where that can't be, it is told, and goes on without."""
        try:
            action()
            self._panel.show_depths()
        except UserError as error:
            show_error(str(error))


def _fits(request: Request, layer: Layer) -> bool:
    """Whether a layer has the shape of masks of an image."""
    if layer is request.image or layer.multiscale:
        return False
    layout = request.layout
    spanning = with_axis(layout.result_shape, spanned_axis(request.image, layout))
    return tuple(layer.data.shape) in (layout.result_shape, spanning)
