"""Which labels layers are masks of which image, so that what is painted in them is kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.models import Store
from napari_unetpp.widgets.geometry import index_on_screen
from napari_unetpp.widgets.job import channels_in, channels_of
from napari_unetpp.widgets.keeper import Keeper
from napari_unetpp.widgets.mask import Mask
from napari_unetpp.widgets.outdated import outdated, unpainted
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

    told = Signal(str)
    """A sentence for the user: whose mask a layer is taken for."""

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
        mask_box.layer_changed.connect(self._look_later)
        mask_box.activated.connect(self._on_picked)
        keeper.astray.connect(lambda mask: self.told.emit(mask.doubt))
        segment_panel.image_changed.connect(self._look_later)
        segment_panel.model_box.model_changed.connect(self._look_later)
        viewer.layers.events.inserted.connect(self._look_later)
        viewer.layers.events.removed.connect(self._on_removed)
        self._look()

    def close(self) -> None:
        """Let go of the viewer."""
        self._is_open = False
        self._viewer.layers.events.inserted.disconnect(self._look_later)
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
                    results.sources,
                    results.heads.layout,
                    store=self._store,
                    model=results.provenance["model"],
                    channels=channels_in(results.provenance),
                    level=results.level,
                    made=made,
                )
            )

    def choose(self, results: Results) -> None:
        """Suggest the deepest head on screen, unless the user painted or chose another mask."""
        chosen = self._mask_box.layer
        mask = self._keeper.mask_of(chosen) if isinstance(chosen, Labels) else None
        if chosen is not None and (mask is None or not mask.is_made):
            return  # one of their own
        if chosen is not None and chosen.visible and chosen is self._keeper.last_edited:
            return
        shown = [key for key in results.head_keys if results.shown.visible.get(key)]
        if shown and results.layers[shown[-1]].layer in self._viewer.layers:
            self._mask_box.layer = results.layers[shown[-1]].layer

    def remove_outdated(self, results: Results, models: Collection[str]) -> None:
        """Take masks of versions other than `models` out of the viewer, if nobody painted them.

        Each fine-tuning makes new layers; without this, memory and the list of layers would grow
        with each. Masks of other families are not touched.
        """
        masks = [m for m in map(self._keeper.mask_of, self._viewer.layers) if m is not None]
        if found := outdated(masks, results, models):
            worker = create_worker(unpainted, found, _start_thread=False)
            worker.returned.connect(self._remove)
            worker.start()

    def _remove(self, masks: Sequence[Mask]) -> None:
        for mask in masks if self._is_open else ():
            if mask.layer in self._viewer.layers and mask.layer is not self._keeper.last_edited:
                self._keeper.forget(mask.layer, save=False)  # there is nothing to save
                self._viewer.layers.remove(mask.layer)

    def hand_over(self, lineage: str, new: str) -> None:
        """What was painted for one family is for another, too, which has learnt it."""
        for layer in self._viewer.layers:
            mask = self._keeper.mask_of(layer) if isinstance(layer, Labels) else None
            if mask is not None and lineage in mask.families:
                mask.families.add(new)

    def chosen(self) -> Mask | None:
        """The chosen mask; if it is a layer of the user's own, all that is in it counts now.

        Raises
        ------
        UserError
            If the layer can't be a mask of the chosen image, or was painted over another one.
        """
        layer = self._mask_box.layer
        if not isinstance(layer, Labels):
            return None
        mask = self._watch(layer, channel_too=True)
        if mask.over is not None:
            raise UserError(mask.doubt)
        mask.counts = True
        return mask

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
        if not mask.layer.visible:
            raise UserError(f"{mask.layer.name} is hidden: show it, or choose another mask.")
        index = index_on_screen(mask.image, self._viewer.dims, mask.layout, mask.level)
        plane = mask.planes.in_words(index)
        if not mask.is_complete(index):
            raise UserError(f"{plane} isn't segmented as a whole: do that first.")
        self._keeper.mark_checked(mask, index)
        told = "right as it is" if index in mask.checked else "not checked"
        return f"{plane} is marked as {told}."

    def _watch(self, layer: Labels, *, channel_too: bool = False, picked: bool = False) -> Mask:
        there = self._keeper.mask_of(layer)
        image = self._segment_panel.image
        if there is not None and (there.is_made or image is None):
            return there
        moved = there is not None and there.image is not image
        if there is not None and moved and (there.restored or (there.counts and not picked)):
            return there  # it was painted over that one
        request = self._segment_panel.request()
        channels = channels_of(request, self._store, self._viewer.dims)
        if there is not None and not moved:
            same = there.layout == replace(request.layout, dims=2)
            same = same and there.sources == request.sources
            same = same and there.lineage == self._store.lineage(request.model)
            if same and (there.channels == channels or not channel_too):
                return there
        # Whether what was painted in it is for the image to which it is moved.
        meant = there is not None and moved and (there.counts or there.over is image)
        mask = Mask(
            layer,
            request.image,
            request.sources,
            request.layout,
            store=self._store,
            model=request.model,
            channels=channels,
            baseline=there.baseline if there is not None and (meant or not moved) else None,
            shown=index_on_screen(
                request.image, self._viewer.dims, replace(request.layout, dims=2)
            ),
        )
        if there is not None:
            mask.take_over(there)
        self._keeper.replace(mask, save=not meant)
        self._keep(mask)
        return mask

    def _keep(self, mask: Mask) -> None:
        self._keeper.watch(mask)
        for layer in mask.sources.layers:
            layer.events.data.connect(self._on_pixels)  # once, and without holding on to this

    def _on_picked(self) -> None:
        """The user says that a layer is a mask of the chosen image, whatever it seemed to be."""
        layer = self._mask_box.layer
        if not isinstance(layer, Labels):
            return
        before = self._keeper.mask_of(layer)
        with suppress(UserError):  # it is told when the layer is used
            mask = self._watch(layer, picked=True)
            mask.settle()
            if before is not None and before.counts and before.image is not mask.image:
                self.told.emit(
                    f"{layer.name} is a mask of {mask.image.name} from now on, and no more of "
                    f"{before.image.name}."
                )

    def _look_later(self, *_: object) -> None:
        QTimer.singleShot(0, self._look)  # one of the dock's own is about to be watched as such

    def _look(self) -> None:
        """Keep what is painted from now on in layers of the user's own, over the chosen image."""
        for layer in self._viewer.layers if self._is_open else ():
            if isinstance(layer, Labels):
                with suppress(UserError):  # it is told when the layer is used
                    self._watch(layer)

    def _on_pixels(self, event: Any) -> None:
        """Masks were painted over the pixels that the image had; these are on the disk."""
        image: Image = event.source
        for layer in self._viewer.layers:
            mask = self._keeper.mask_of(layer) if isinstance(layer, Labels) else None
            if mask is not None and image in mask.sources.layers:
                self._keeper.forget(layer, save=False)

    def _on_removed(self, event: Any) -> None:
        if isinstance(event.value, Labels):
            self._keeper.forget(event.value)
