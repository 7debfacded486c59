"""Where the heads disagree most: the places to look at and correct first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.feature import peak_local_max
from skimage.measure import block_reduce

from napari_unetpp.inference.layout import Index

BLOCK = 16
"""Side in pixels over which disagreement is averaged: a place is an object, not a pixel."""
LEAST = 0.05
"""Places with less mean disagreement (range 0 to 1) are sure."""


@dataclass(frozen=True)
class Place:
    """A place in a plane.

    Attributes
    ----------
    index : Index
        Of the plane.
    y, x : float
        Pixels, of its centre.
    disagreement : float
        Mean over the place, 0 to 1.
    """

    index: Index
    y: float
    x: float
    disagreement: float


def uncertain_places(disagreement: NDArray[Any], index: Index) -> list[Place]:
    """The places of one plane, the most uncertain first.

    Parameters
    ----------
    disagreement : uint8 or float32 array
        Shape ``(y, x)``, as `Heads.disagreement` gives it.
    index : Index
        Of the plane, handed on.
    """
    scale = 255 if disagreement.dtype == np.uint8 else 1
    coarse = block_reduce(  # type: ignore[no-untyped-call]
        disagreement.astype(np.float32) / scale, (BLOCK, BLOCK), np.nanmean, cval=np.nan
    )  # blocks over the border: the mean of what they hold
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        coarse, min_distance=2, threshold_abs=LEAST, exclude_border=False
    )
    height, width = disagreement.shape
    places = [
        Place(
            index,
            min((y + 0.5) * BLOCK, height - 1.0),
            min((x + 0.5) * BLOCK, width - 1.0),
            float(coarse[y, x]),
        )
        for y, x in peaks.tolist()
    ]
    return sorted(places, key=lambda place: -place.disagreement)
