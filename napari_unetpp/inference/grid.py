"""The pixels of a network laid over those of an image, where a model has a size of its own.

Interpolation is linear and separable. Where the network's pixels are larger, each is a mean over
its extent, so that nothing is skipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.inference.layout import Region

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Two grids over the same piece of an image: its own, and the network's.

    Attributes
    ----------
    image_shape : tuple of int
        Lengths of the axes of the piece.
    factors : tuple of float
        How many pixels the network has for one of the image, along each axis.
    """

    image_shape: tuple[int, ...]
    factors: tuple[float, ...]

    @classmethod
    def of(
        cls,
        image_shape: Sequence[int],
        image_size: Sequence[float] | None,
        network_size: Sequence[float] | None,
    ) -> Grid:
        """From the lengths of a pixel of both; without one of these the two grids are one."""
        if image_size is None or network_size is None:
            return cls(tuple(image_shape), (1.0,) * len(image_shape))
        factors = (a / b for a, b in zip(image_size, network_size, strict=True))
        return cls(tuple(image_shape), tuple(1.0 if abs(f - 1) < 0.02 else f for f in factors))

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of the network's grid."""
        return tuple(
            max(1, round(n * f)) for n, f in zip(self.image_shape, self.factors, strict=True)
        )

    @property
    def is_same(self) -> bool:
        """Whether both grids are one."""
        return all(factor == 1 for factor in self.factors)

    def of_image(self, region: Region) -> Region:
        """The least region of the image that holds all that a region of the network sees."""
        if self.is_same:
            return region
        spans = []
        for part, n, f in zip(region, self.image_shape, self.factors, strict=True):
            first, last = math.floor(part.start / f - 1), math.ceil(part.stop / f + 1)
            first = min(max(first, 0), n - 1)
            spans.append(slice(first, max(min(last, n), first + 1)))
        return tuple(spans)

    def of_network(self, region: Region) -> Region:
        """The least region of the network's grid that covers a region of the image."""
        if self.is_same:
            return region
        spans = []
        for part, n, f in zip(region, self.shape, self.factors, strict=True):
            first = min(max(math.floor(part.start * f), 0), n - 1)
            spans.append(slice(first, max(min(math.ceil(part.stop * f), n), first + 1)))
        return tuple(spans)

    def filled(self, region: Region) -> Region:
        """The pixels of the image whose centres lie in a region of the network's grid."""
        if self.is_same:
            return region
        spans = []
        for part, m, n, f in zip(region, self.shape, self.image_shape, self.factors, strict=True):
            first = 0 if part.start == 0 else math.ceil(part.start / f - 0.5)
            last = n if part.stop >= m else math.ceil(part.stop / f - 0.5)
            spans.append(slice(first, max(first, last)))
        return tuple(spans)

    def to_network(self, pixels: NDArray[Any], source: Region, region: Region) -> FloatArray:
        """Pixels of `source` ``(c, *spatial)`` as the network sees them in `region`."""
        out = np.asarray(pixels, np.float32)
        if self.is_same:
            return out
        for axis, (part, around, f) in enumerate(zip(region, source, self.factors, strict=True), 1):
            if f == 1:
                out = _cut(out, axis, part.start - around.start, part.stop - around.start)
                continue
            count = max(1, math.ceil(1 / f))
            offsets = (np.arange(count) + 0.5) / count
            wanted = (np.arange(part.start, part.stop)[:, None] + offsets) / f - 0.5 - around.start
            out = _interpolated(out, axis, wanted)
        return out

    def to_image(self, values: FloatArray, region: Region, target: Region) -> FloatArray:
        """What the network found in `region`, ``(…, *spatial)``, at the pixels of `target`."""
        out = values
        if self.is_same:
            return out
        first = values.ndim - len(region)
        for axis, (part, wanted, f) in enumerate(zip(region, target, self.factors, strict=True)):
            if f == 1:
                start = wanted.start - part.start
                out = _cut(out, first + axis, start, start + wanted.stop - wanted.start)
                continue
            centres = (np.arange(wanted.start, wanted.stop) + 0.5) * f - 0.5 - part.start
            out = _interpolated(out, first + axis, centres[:, None])
        return out


def _cut(values: NDArray[Any], axis: int, start: int, stop: int) -> NDArray[Any]:
    return values[(slice(None),) * axis + (slice(start, stop),)]


def _interpolated(values: FloatArray, axis: int, positions: NDArray[np.float64]) -> FloatArray:
    """Along one axis the mean of the values at `positions` ``(n, samples)``."""
    last = values.shape[axis] - 1
    positions = np.clip(positions, 0, last)
    below = np.minimum(positions.astype(np.intp), max(last - 1, 0))
    weight = (positions - below).astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    total = np.zeros((*values.shape[:axis], len(positions), *values.shape[axis + 1 :]), np.float32)
    for n in range(positions.shape[1]):
        w = weight[:, n].reshape(shape)
        above = np.minimum(below[:, n] + 1, last)
        total += values.take(below[:, n], axis) * (1 - w) + values.take(above, axis) * w
    total /= positions.shape[1]
    return total
