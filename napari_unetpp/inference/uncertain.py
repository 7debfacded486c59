"""Where the heads disagree most: the places to look at and correct first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.feature import peak_local_max
from skimage.measure import block_reduce

from napari_unetpp.inference.layout import Index

BLOCK = {2: 16, 3: 8}
"""Side in pixels over which disagreement is averaged: a place is an object, not a pixel."""
LEAST = 0.05
"""Places with less mean disagreement (range 0 to 1) are sure."""


@dataclass(frozen=True)
class Place:
    """A place in a plane or volume.

    Attributes
    ----------
    index : Index
        Of the plane or volume.
    position : tuple of float
        Of its centre, in pixels, along the axes of the plane or volume.
    disagreement : float
        Mean over the place, 0 to 1.
    """

    index: Index
    position: tuple[float, ...]
    disagreement: float


def uncertain_places(
    disagreement: NDArray[Any], index: Index, start: Sequence[int] | None = None
) -> list[Place]:
    """The places of one plane or volume, the most uncertain first.

    Parameters
    ----------
    disagreement : uint8 or float32 array
        Shape ``spatial``, as `Heads.disagreement` gives it.
    index : Index
        Of the plane, handed on.
    start : sequence of int, optional
        Where the array begins in the plane or volume; by default where that does.
    """
    side = BLOCK[disagreement.ndim]
    scale = 255 if disagreement.dtype == np.uint8 else 1
    coarse = block_reduce(  # type: ignore[no-untyped-call]
        disagreement.astype(np.float32) / scale,
        (side,) * disagreement.ndim,
        np.nanmean,
        cval=np.nan,
    )  # blocks over the border: the mean of what they hold
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        coarse, min_distance=2, threshold_abs=LEAST, exclude_border=False
    )
    places = []
    for peak in peaks.tolist():
        middle = ((n + 0.5) * side for n in peak)
        inside = (min(n, m - 1.0) for n, m in zip(middle, disagreement.shape, strict=True))
        offset = start or (0,) * disagreement.ndim
        position = tuple(n + first for n, first in zip(inside, offset, strict=True))
        places.append(Place(index, position, float(coarse[tuple(peak)])))
    return sorted(places, key=lambda place: -place.disagreement)
