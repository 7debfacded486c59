"""What lies above and below a corrected plane, which a model for volumes has to see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import ArrayLike, Index, Layout
from napari_unetpp.inference.reading import Reader
from napari_unetpp.models.spec import ModelSpec

CONTEXT = 32
"""Voxels of the network above and below a plane: half a patch, see `options.patch_for`."""
INTENSITIES = 1 << 16
"""Values kept of a whole volume, to tell its percentiles from."""
LARGEST_SLAB = 1 << 28
"""Bytes; it is written to the disk whenever its plane is painted."""


@dataclass(frozen=True)
class Slab:
    """The planes of a volume around a corrected one.

    Attributes
    ----------
    image : array
        Shape ``(c, z, y, x)``: the channels that the model sees, intensities as in the file.
    start : int
        Which plane of the volume is the first of it.
    place : int
        Which of its planes is the corrected one.
    intensities : array
        Shape ``(c, n)``: values from all over the volume, which is normalised as a whole.
    voxel_size : tuple of float, optional
        Lengths of a voxel along Z, Y and X in µm, where they are known.
    """

    image: NDArray[Any]
    start: int
    place: int
    intensities: NDArray[Any]
    voxel_size: tuple[float, ...] | None

    @cached_property
    def volume(self) -> tuple[object, ...]:
        """The same for all slabs of a volume, and for hardly any others."""
        shape = self.image.shape[0], *self.image.shape[2:]
        return shape, self.image.dtype.name, self.voxel_size, self.intensities.tobytes()


def slab_around(
    image: ArrayLike,
    layout: Layout,
    plane: Index,
    spec: ModelSpec,
    *,
    channels: Sequence[int] | None = None,
    voxel_size: tuple[float, ...] | None = None,
) -> Slab | None:
    """Read the slab around a plane; none for a model of planes.

    Parameters
    ----------
    image : array-like
        All of it.
    layout : Layout
        How it is taken apart for the model.
    plane : Index
        Which plane of the image, taken apart into planes.
    spec : ModelSpec
        Of the model that learns.
    channels : sequence of int, optional
        For each channel of the model which of the image.
    voxel_size : tuple of float, optional
        Lengths of a voxel along Z, Y and X in µm.

    Raises
    ------
    UserError
        If it would be too large, or can't be read.
    """
    index, place = layout.piece_of(plane)
    if place is None:
        return None
    depth, height, width = layout.spatial_shape
    context = CONTEXT
    if voxel_size is not None and spec.voxel_size is not None:
        context = math.ceil(CONTEXT * spec.voxel_size[0] / voxel_size[0])
    start, stop = max(place - context, 0), min(place + context + 1, depth)
    needed = (stop - start) * height * width * spec.in_channels * np.dtype(image.dtype).itemsize
    if needed > LARGEST_SLAB:
        raise UserError(
            f"The planes are {height} × {width} pixels large, and a model for volumes learns from "
            f"{stop - start} of them at a time, which is too much: crop the image."
        )
    reader = Reader(
        image,
        layout,
        spec.normalisation,
        in_channels=spec.in_channels,
        channels=None if channels is None else tuple(channels),
    )
    region = (slice(start, stop), *layout.whole[1:])
    return Slab(
        reader.channels(index, region),
        start,
        place - start,
        _thinned(reader.intensities(index)),
        voxel_size,
    )


def _thinned(values: NDArray[Any]) -> NDArray[Any]:
    """Of the values ``(c, …)`` of each channel evenly some."""
    flat = values.reshape(len(values), -1)
    return flat[:, :: -(-flat.shape[1] // INTENSITIES)].copy()
