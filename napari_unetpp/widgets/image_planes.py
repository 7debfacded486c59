"""The planes of an image, as a model sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.inference.chunks import kept_chunks
from napari_unetpp.inference.layout import Index, Layout
from napari_unetpp.models import ModelSpec
from napari_unetpp.training.slabs import Slab, slab_around
from napari_unetpp.widgets.lengths import pixel_size_of
from napari_unetpp.widgets.sources import Sources


class ImagePlanes:
    """An image, plane by plane: it may have to be read.

    Parameters
    ----------
    image : Image
        The layer.
    sources : Sources
        The layers that the model sees.
    layout : Layout
        How these are taken apart into planes.
    spec : ModelSpec
        Of the model.
    channels : tuple of int, optional
        For each channel of the model which of the image it sees.
    level : int
        Of a multiscale image.
    """

    def __init__(
        self,
        image: Image,
        sources: Sources,
        layout: Layout,
        spec: ModelSpec,
        channels: tuple[int, ...] | None,
        level: int,
    ) -> None:
        self._image, self._sources, self._layout = image, sources, layout
        self._spec, self._channels, self._level = spec, channels, level
        self._pieces = Layout.of(sources.pixels(level), layout.axes, dims=spec.dims)
        self._mix = channels_for(layout, spec.in_channels, channels)

    def at(self, index: Index) -> tuple[NDArray[Any], Slab | None]:
        """One plane, and for a model of volumes the planes around it.

        Raises
        ------
        UserError
            If they can't be read.
        """
        voxel_size = pixel_size_of(self._image, self._pieces, self._level, self._spec.voxel_size)
        try:
            pixels = kept_chunks(self._sources.pixels(self._level))  # the plane is in its slab
            plane = np.asarray(self._mix(self._layout.take(pixels, index)))
            slab = slab_around(
                pixels,
                self._pieces,
                index,
                self._spec,
                channels=self._channels,
                voxel_size=voxel_size,
            )
        except OSError as error:  # it is read as it is needed
            raise UserError(f"{self._image.name} can't be read any more ({error}).") from error
        return plane, slab
