"""Which labels layers are masks of which image, so that what is painted in them is kept."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QObject, QTimer

from napari_unetpp.errors import UserError
from napari_unetpp.inference.axes import Index
from napari_unetpp.models import Store
from napari_unetpp.widgets.geometry import channel_on_screen, index_on_screen
from napari_unetpp.widgets.keeper import Keeper
from napari_unetpp.widgets.mask import Mask
from napari_unetpp.widgets.result_layer import ResultLayer
from napari_unetpp.widgets.results import Results

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_unetpp.widgets.layer_box import LayerBox
    from napari_unetpp.widgets.segment_panel import SegmentPanel


class Masks(QObject):
    """Has every mask watched by the keeper: results, and layers of the user's own.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    segment_panel : SegmentPanel
        Where image and model are chosen.
    mask_box : LayerBox
        Where a mask is chosen.
    keeper : Keeper
        Watches.
    parent : QObject, optional
        As in Qt.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        segment_panel: SegmentPanel,
        mask_box: LayerBox,
        keeper: Keeper,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._segment_panel = viewer, segment_panel
        self._mask_box, self._keeper = mask_box, keeper
        self._store: Store = segment_panel.model_box.store
        self._is_open = True
        mask_box.layer_changed.connect(self._on_chosen)
        viewer.layers.events.removed.connect(self._on_removed)
        for layer in viewer.layers:
            if isinstance(layer, Labels):
                self._watch_quietly(layer)

    def close(self) -> None:
        """Let go of the viewer."""
        self._is_open = False
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def watch_result(self, results: Results, made: ResultLayer) -> None:
        """Keep what the user paints in a result layer."""
        layer = made.layer
        if not isinstance(layer, Labels):
            return
        with suppress(UserError):  # the model is gone: nothing can be learnt for it
            self._keep(
                Mask(
                    layer,
                    results.image,
                    results.heads.planes,
                    store=self._store,
                    model=results.provenance["model"],
                    channel=results.provenance["channel"],
                    made=made,
                )
            )

    def chosen(self) -> Mask | None:
        """The chosen mask, watched from now on also if it isn't one of the dock's own.

        Raises
        ------
        UserError
            If the layer can't be a mask of the chosen image.
        """
        layer = self._mask_box.layer
        return self._watch(layer) if isinstance(layer, Labels) else None

    def on_screen(self) -> list[Labels]:
        """The visible masks of the chosen image."""
        masks = [self._keeper.mask_of(layer) for layer in self._viewer.layers if layer.visible]
        image = self._segment_panel.image
        return [mask.layer for mask in masks if mask is not None and mask.image is image]

    def mark_checked(self) -> str:
        """The plane on screen is right as it is, or once more not; gives a sentence that says so.

        Raises
        ------
        UserError
            If there is no mask, or the plane isn't segmented as a whole.
        """
        mask = self.chosen()
        if mask is None:
            raise UserError("There is no mask to mark as checked: segment the image first.")
        index = index_on_screen(mask.image, self._viewer.dims, mask.planes)
        plane = _plane_text(mask, index)
        if not mask.is_complete(index):
            raise UserError(f"{plane} isn't segmented as a whole: do that first.")
        self._keeper.mark_checked(mask, index)
        told = "right as it is" if index in mask.checked else "not checked"
        return f"{plane} is marked as {told}."

    def _watch(self, layer: Labels) -> Mask:
        there = self._keeper.mask_of(layer)
        image = self._segment_panel.image
        if there is not None and (there.is_made or image is None or there.image is image):
            return there
        request = self._segment_panel.request()
        mask = Mask(
            layer,
            request.image,
            request.planes,
            store=self._store,
            model=request.model,
            channel=channel_on_screen(request.image, self._viewer.dims, request.planes),
        )
        self._keeper.forget(layer)  # it was taken for the mask of another image
        self._keep(mask)
        return mask

    def _keep(self, mask: Mask) -> None:
        self._keeper.watch(mask)
        mask.image.events.data.connect(self._on_pixels)  # once, and without holding on to this

    def _watch_quietly(self, layer: Labels) -> None:
        if self._is_open and layer in self._viewer.layers and self._keeper.mask_of(layer) is None:
            with suppress(UserError):  # it is told when the layer is used
                self._watch(layer)

    def _on_chosen(self, layer: Any) -> None:
        """Keep what is painted in a layer of the user's own from when it is chosen."""
        if layer is not None:  # later: one of the dock's own is about to be watched as such
            QTimer.singleShot(0, partial(self._watch_quietly, layer))

    def _on_pixels(self, event: Any) -> None:
        """Masks were painted over the pixels that the image had; these are on the disk."""
        image: Image = event.source
        for layer in self._viewer.layers:
            mask = self._keeper.mask_of(layer) if isinstance(layer, Labels) else None
            if mask is not None and mask.image is image:
                self._keeper.forget(layer, save=False)

    def _on_removed(self, event: Any) -> None:
        if isinstance(event.value, Labels):
            self._keeper.forget(event.value)


def _plane_text(mask: Mask, index: Index) -> str:
    if not index:
        return str(mask.image.name)
    place = ", ".join(
        f"{axis} {position}" for axis, position in zip(mask.planes.outer_axes, index, strict=True)
    )
    return f"{mask.image.name} at {place}"
