"""The real image on which an export is tried, and which goes with it as an example."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.files import read_image, sample_path
from napari_unetpp.inference.tiles import overlap_for
from napari_unetpp.models.spec import ModelSpec

SAMPLES = {2: "nuclei", 3: "volume"}
SIDES = {2: (256, 320), 3: (32, 64, 80)}
"""Of the example; more where a deep head needs more."""


def halo_of(spec: ModelSpec, depth: int) -> int:
    """Pixels at the sides of a tile that are not used, as where this package cuts tiles."""
    return overlap_for(depth, spec.dims) // 2


def smallest(spec: ModelSpec, depth: int, *, tiled: bool) -> int:
    """The least side of what a graph takes; of a tile one that leaves something inside the halo."""
    step = 1 << depth
    return (2 * halo_of(spec, depth) // step + 1) * step if tiled else step


def sample_for(spec: ModelSpec, depth: int, *, tiled: bool) -> NDArray[Any]:
    """A real image ``(c, *spatial)`` whose sides a head takes, in whole or as a tile.

    A model of several channels gets the image and moved copies of it.
    """
    pixels = read_image(sample_path(SAMPLES[spec.dims])).data
    step, least = 1 << depth, smallest(spec, depth, tiled=tiled)
    sides = [max(-(-side // step) * step, least) for side in SIDES[spec.dims]]
    missing = [max(0, side - there) for side, there in zip(sides, pixels.shape, strict=True)]
    pixels = np.pad(pixels, [(0, n) for n in missing], mode="symmetric")
    pixels = pixels[tuple(slice(0, side) for side in sides)]
    return np.stack([np.roll(pixels, 9 * c, axis=-1) for c in range(spec.in_channels)])
