"""Corrections that are on the disk but in no layer, as after a crash: found, and brought back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.qt.threading import create_worker
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.inference.layout import Index
from napari_unetpp.models import Store
from napari_unetpp.training.correction_folder import CorrectionFolder, plane_in, read_correction
from napari_unetpp.training.corrections import Correction, Source, digest_of
from napari_unetpp.widgets.geometry import place_like, spanned_axis
from napari_unetpp.widgets.job import Request, channels_of
from napari_unetpp.widgets.keeper import Keeper
from napari_unetpp.widgets.mask import Mask
from napari_unetpp.widgets.spanning import with_axis
from napari_unetpp.widgets.threads import failing_loudly

if TYPE_CHECKING:
    from napari_unetpp.widgets.segment_panel import SegmentPanel

LabelArray = NDArray[np.int32]
Restored = dict[Path, Correction]


class Recovery(QObject):
    """Brings kept corrections back as a layer; they are read in a thread.

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

    ended = Signal()
    """They are in a layer, or can't be."""
    failed = Signal(object)
    """The exception: why not."""

    def __init__(
        self, viewer: ViewerModel, store: Store, keeper: Keeper, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._store, self._keeper = viewer, store, keeper
        self._running, self._is_open = False, True

    def close(self) -> None:
        """Show nothing any more."""
        self._is_open = False

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
        """Show them in a new layer, which is learnt from like any other; `ended` tells when.

        Raises
        ------
        UserError
            If the image or the model can't be used.
        """
        request = panel.request()
        found = self._found(request)
        if not found or self._running:
            return
        channels = channels_of(request, self._store, self._viewer.dims)
        mix = channels_for(request.layout, self._store.spec(request.model).in_channels, channels)
        worker = create_worker(
            _read,
            {path: source.index for path, source in found.items()},
            request,
            mix,
            _start_thread=False,
            _connect={"errored": self._on_error},
        )
        worker.returned.connect(partial(self._show, request, channels))
        self._running = True
        worker.start()

    def _show(
        self,
        request: Request,
        channels: tuple[int, ...] | None,
        read: tuple[LabelArray, Restored],
    ) -> None:
        self._running = False
        labels, restored = read
        if not self._is_open or request.image not in self._viewer.layers:
            return
        spanned = spanned_axis(request.image, request.layout)
        layer = Labels(
            labels.reshape(with_axis(labels.shape, spanned)),
            name=f"{request.image.name} · corrected",
            **place_like(request.image, request.layout),
        )
        self._viewer.layers.append(layer)
        mask = Mask(
            layer,
            request.image,
            request.sources,
            request.layout,
            store=self._store,
            model=request.model,
            channels=channels,
        )
        mask.restored = {c.source.index: c for c in restored.values()}
        mask.counts = True
        self._keeper.adopt(mask, {c.source.index: path for path, c in restored.items()})
        self.ended.emit()

    def _on_error(self, error: Exception) -> None:
        if not self._is_open:
            return
        self._running = False
        self.failed.emit(error)
        self.ended.emit()

    def _found(self, request: Request) -> dict[Path, Source]:
        folder = CorrectionFolder(
            self._store.corrections_folder(self._store.lineage(request.model))
        )
        # By name: a new model has copies of what it learnt in its own folder.
        shown = {kept.path.name for kept in self._keeper.kept.values()}
        of_image = {
            path: source
            for path, source in folder.sources().items()
            if source.image == request.image.name and source.shape == request.layout.result_shape
        }
        by_age = sorted(of_image, key=lambda path: of_image[path].when)
        # Another image of that name has other pixels: which are this one's is seen when it is read.
        newest = {(of_image[path].index, plane_in(path)): path for path in by_age}
        known = self._known_planes(request)
        return {
            path: of_image[path]
            for (index, plane), path in newest.items()
            if path.name not in shown and known.get(index, plane) == plane
        }

    def _known_planes(self, request: Request) -> dict[Index, str]:
        """Which pixels a plane of the image has, as far as a layer shows what was painted there."""
        channels = channels_of(request, self._store, self._viewer.dims)
        layout = replace(request.layout, dims=2)
        return {
            kept.index: plane_in(kept.path)
            for kept in self._keeper.kept.values()
            if kept.mask.image is request.image
            and kept.mask.layout == layout
            and kept.mask.sources == request.sources
            and kept.mask.channels == channels
        }


def _read(
    paths: Mapping[Path, Index], request: Request, mix: Callable[[NDArray[Any]], NDArray[Any]]
) -> tuple[LabelArray, Restored]:
    """Labels of the image's shape, and the corrections that are in them.

    Raises
    ------
    UserError
        If none of them is of these pixels, or one can't be read.
    """
    labels = np.zeros(request.layout.result_shape, np.int32)
    restored: Restored = {}
    layout, pixels = replace(request.layout, dims=2), request.sources.pixels()
    digests: dict[Index, str] = {}
    with failing_loudly():
        for path, index in paths.items():
            if index not in digests:
                digests[index] = digest_of(np.asarray(mix(layout.take(pixels, index))))
            if not digests[index].startswith(plane_in(path)):
                continue
            correction = read_correction(path)
            if correction.plane == digests[index]:
                layout.result_part(labels, index)[...] = correction.labels
                restored[path] = correction
    if not restored:
        raise UserError(
            f"The corrections are of another image that is called {request.image.name}, too: open "
            "that one to restore them."
        )
    return labels, restored
