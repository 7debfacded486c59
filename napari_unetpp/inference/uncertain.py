"""Where the masks are least sure: the places to look at and correct first.

That is told by the entropy of the deepest head rather than by how far the heads disagree: it finds
twice as much of what is wrong (`python -m benchmarks uncertainty`, `docs/uncertainty.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.feature import peak_local_max
from skimage.measure import block_reduce

from napari_unetpp.inference.heads import deepest_of
from napari_unetpp.inference.layout import Index, Region

BLOCK = {2: 16, 3: 8}
"""Side in pixels over which entropy is averaged: a place is an object, not a pixel."""
LEAST = 0.05
"""Places with less mean entropy (range 0 to 1) are sure."""


@dataclass(frozen=True)
class Place:
    """A place in a plane or volume.

    Attributes
    ----------
    index : Index
        Of the plane or volume.
    position : tuple of float
        Of its centre, in pixels, along the axes of the plane or volume.
    entropy : float
        Mean over the place, 0 to 1.
    """

    index: Index
    position: tuple[float, ...]
    entropy: float

    def region(self, shape: Sequence[int]) -> Region:
        """It and what lies near to it, in a plane or volume of this shape."""
        side = BLOCK[len(self.position)]
        return tuple(
            slice(max(int(p) - side, 0), min(int(p) + side, n))
            for p, n in zip(self.position, shape, strict=True)
        )


def entropy(probability: NDArray[Any]) -> NDArray[np.float32]:
    """Shannon's entropy in bits of a class or none, in [0, 1]; 1 where the probability is 0.5.

    Parameters
    ----------
    probability : float array
        Any shape, in [0, 1].
    """
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(-p * np.log2(p) - (1 - p) * np.log2(1 - p), np.float32)


ENTROPY_OF_BYTES = entropy(np.arange(256) / 255)


def entropy_of(values: NDArray[Any], reached: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How unsure the deepest head is that is computed; of any part of `Heads`.

    Parameters
    ----------
    values : uint8 or float32 array
        Shape ``(head, class, *spatial)``.
    reached : uint8 array
        Shape ``spatial``.

    Returns
    -------
    float32 array
        Shape ``spatial``, in [0, 1]: of several classes the least sure one counts; 0 where nothing
        is computed.
    """
    deepest = deepest_of(values, reached)
    found = ENTROPY_OF_BYTES[deepest] if deepest.dtype == np.uint8 else entropy(deepest)
    return np.asarray(np.where(reached > 0, found.max(axis=0), 0), np.float32)


def uncertain_places(
    entropies: NDArray[np.float32], index: Index, start: Sequence[int] | None = None
) -> list[Place]:
    """The places of one plane or volume, the most uncertain first.

    Parameters
    ----------
    entropies : float32 array
        Shape ``spatial``, as `entropy_of` gives it.
    index : Index
        Of the plane, handed on.
    start : sequence of int, optional
        Where the array begins in the plane or volume; by default where that does.
    """
    side = BLOCK[entropies.ndim]
    coarse = block_reduce(  # type: ignore[no-untyped-call]
        entropies,
        (side,) * entropies.ndim,
        np.nanmean,
        cval=np.nan,
    )  # blocks over the border: the mean of what they hold
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        coarse, min_distance=2, threshold_abs=LEAST, exclude_border=False
    )
    places = []
    for peak in peaks.tolist():
        middle = ((n + 0.5) * side for n in peak)
        inside = (min(n, m - 1.0) for n, m in zip(middle, entropies.shape, strict=True))
        offset = start or (0,) * entropies.ndim
        position = tuple(n + first for n, first in zip(inside, offset, strict=True))
        places.append(Place(index, position, float(coarse[tuple(peak)])))
    return sorted(places, key=lambda place: -place.entropy)
