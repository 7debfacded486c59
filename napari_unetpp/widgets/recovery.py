"""Corrections that are on the disk but in no layer, as after a crash: found, and brought back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from napari_unetpp.errors import UserError
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.models import Store
from napari_unetpp.models.header import read_digest
from napari_unetpp.training.corrections import (
    Correction,
    CorrectionFolder,
    Source,
    digest_of,
    read_correction,
)
from napari_unetpp.widgets.geometry import channel_on_screen, image_data, place_like
from napari_unetpp.widgets.keeper import Keeper
from napari_unetpp.widgets.mask import Mask

if TYPE_CHECKING:
    from napari_unetpp.widgets.job import Request
    from napari_unetpp.widgets.segment_panel import SegmentPanel


class Recovery(QObject):
    """Brings kept corrections back as a layer.

    Parameters
    ----------
    viewer : ViewerModel
        Where the layer goes.
    store : Store
        Whose folder of corrections is looked at.
    keeper : Keeper
        Knows which of them a layer shows.
    parent : QObject, optional
        As in Qt.
    """

    def __init__(
        self, viewer: ViewerModel, store: Store, keeper: Keeper, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._store, self._keeper = viewer, store, keeper

    def look(self, panel: SegmentPanel) -> str:
        """A sentence that offers what there is; empty if there is nothing."""
        try:
            found = self._found(panel.request())
        except UserError:
            return ""
        if not found:
            return ""
        planes = len({source.index for source in found.values()})
        when = max(source.when for source in found.values())[:16].replace("T", " ")
        return f"{planes} corrected plane{'s' * (planes > 1)} of this image, saved {when} UTC."

    def restore(self, panel: SegmentPanel) -> None:
        """Show them in a new layer, which is learnt from like any other.

        Raises
        ------
        UserError
            If none of them is of these pixels, or can be read.
        """
        request = panel.request()
        found = self._found(request)
        if not found:
            return
        channel = channel_on_screen(request.image, self._viewer.dims, request.planes)
        mix = channels_for(request.planes, self._store.spec(request.model).in_channels, channel)
        labels = np.zeros(request.planes.result_shape, np.int32)
        restored: dict[Path, Correction] = {}
        for path in sorted(found, key=lambda path: found[path].when):
            correction = read_correction(path)
            index = correction.source.index
            plane = np.asarray(mix(request.planes.take(image_data(request.image), index)))
            if digest_of(plane) == correction.plane:
                request.planes.result_plane(labels, index)[...] = _labels(correction)
                restored[path] = correction
        if not restored:
            raise UserError(
                f"The corrections are of another image that is called {request.image.name}, too: "
                "open that one to restore them."
            )
        layer = Labels(
            labels,
            name=f"{request.image.name} · corrected",
            **place_like(request.image, request.planes),
        )
        self._viewer.layers.append(layer)
        mask = Mask(
            layer,
            request.image,
            request.planes,
            store=self._store,
            model=request.model,
            channel=channel,
        )
        for correction in restored.values():
            mask.limits[correction.source.index] = _labels(correction), correction.known
            if correction.source.trust == "scribbles":
                mask.kind = "scribbles"
            elif correction.painted is not None:
                mask.kind = "instances"
        self._keeper.adopt(mask, {c.source.index: path for path, c in restored.items()})

    def _found(self, request: Request) -> dict[Path, Source]:
        folder = CorrectionFolder(self._store.corrections_folder(self._lineage(request)))
        shown = {kept.path for kept in self._keeper.kept.values()}
        of_image = {
            path: source
            for path, source in folder.sources().items()
            if source.image == request.image.name and source.shape == request.planes.result_shape
        }
        newest = {of_image[p].index: p for p in sorted(of_image, key=lambda p: of_image[p].when)}
        return {path: of_image[path] for path in newest.values() if path not in shown}

    def _lineage(self, request: Request) -> str:
        path = self._store.path(request.model)
        return self._store.spec(request.model).lineage(read_digest(path))


def _labels(correction: Correction) -> NDArray[Any]:
    """As they were painted."""
    if correction.painted is not None:
        return correction.painted
    if correction.source.trust == "scribbles":
        return np.where(correction.known, correction.classes + 1, 0).astype(np.uint8)
    return correction.classes
