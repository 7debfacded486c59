"""Intensities: grey from colour, and the numbers that the network was trained on.

The limits are found once per plane and then used for every tile, so the numbers are the same
however the image is tiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.models.spec import Normalisation

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""

SAMPLED_PIXELS = 1 << 22
"""Planes with more pixels are sampled evenly for the percentiles, which are then good to 0.1 %."""

LARGEST_GAMMA = 4.0
"""Nor is any power smaller than its inverse: beyond, noise would be all there is."""

CLEAR_TONE = 0.3
"""See `background_tone`: beyond, a background is clearly dark or bright."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """What the percentiles of one plane say.

    Attributes
    ----------
    low, high : float
        Intensities that become 0 and 1.
    inverted : bool
        Whether the background is bright, so that `high` becomes 0 and `low` becomes 1.
    gamma : float
        The power that is taken last.
    """

    low: float
    high: float
    inverted: bool
    gamma: float = 1.0


def to_grey(rgb: NDArray[Any], weights: tuple[float, ...] = LUMINANCE) -> FloatArray:
    """One grey channel from the first three channels of ``(..., 3 or 4)``; alpha is ignored."""
    return rgb[..., :3].astype(np.float32) @ np.asarray(weights, np.float32)


def find_limits(
    plane: NDArray[Any], normalisation: Normalisation, *, colour: bool = False
) -> Limits:
    """The limits of one plane or volume of a single channel, any shape and real dtype.

    NaN and infinity are left out. A plane without any contrast gets ``high == low``.

    Parameters
    ----------
    plane : array
        The intensities.
    normalisation : Normalisation
        How.
    colour : bool
        Whether the image is in colour: then it is of light that came through, and its background
        is bright unless it clearly isn't. Dense tissue may cover most of it.

    Raises
    ------
    UserError
        If the plane is complex.
    """
    if np.iscomplexobj(plane):
        raise UserError(
            "The image is complex; only real images can be segmented: take its magnitude or phase."
        )
    sample = Intensities.of(plane)
    if not sample.size:
        return Limits(0.0, 0.0, False)
    low, median, high = _percentiles(sample, normalisation)
    bright = _tone(low, median, high) > (-CLEAR_TONE if colour else 0)
    if normalisation.background != "auto":
        bright = normalisation.background == "bright"
    limits = Limits(float(low), float(high), bool(bright))
    if normalisation.gamma == "none" or high <= low:
        return limits
    gamma = _otsu_gamma(normalise(sample.values, limits), sample.counts)
    return replace(limits, gamma=gamma)


def background_tone(plane: NDArray[Any], normalisation: Normalisation) -> float:
    """How sure it is that a plane's background is dark (-1) or bright (1); about 0 says nothing.

    Where the median stands between the percentiles; see `find_limits`.
    """
    sample = Intensities.of(plane)
    return _tone(*_percentiles(sample, normalisation)) if sample.size else 0.0


def normalise(tile: NDArray[Any], limits: Limits) -> FloatArray:
    """Map intensities to [0, 1], background near 0; NaN and infinity count as background.

    Parameters
    ----------
    tile : array
        Any part of the plane that `limits` was found on; any shape, real dtype.
    limits : Limits
        From `find_limits`.

    Returns
    -------
    float32 array of the same shape, in [0, 1].
    """
    if limits.high <= limits.low:
        return np.zeros(tile.shape, np.float32)
    exact = np.result_type(tile.dtype, np.float32)  # 64 bits where 32 would lose the low bits
    scaled = tile.astype(exact) - exact.type(limits.low)
    scaled /= exact.type(limits.high - limits.low)
    if limits.inverted:
        scaled = 1 - scaled
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    np.clip(scaled, 0, 1, out=scaled)
    scaled = np.asarray(scaled, np.float32)
    return scaled if limits.gamma == 1 else scaled ** np.float32(limits.gamma)


@dataclass(frozen=True)
class Intensities:
    """The finite intensities of a plane, or an even sample of them.

    Attributes
    ----------
    values : float64 array
        Of integers of up to 16 bits each that occurs, in order: they are counted, which takes far
        less time than to sort them. Of others all.
    counts : int array, optional
        How often each occurs; without it, once.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.intp] | None = None

    @classmethod
    def of(cls, plane: NDArray[Any]) -> Intensities:
        """Any shape and real dtype."""
        taken = plane.reshape(-1)[:: max(1, plane.size // SAMPLED_PIXELS)]
        if taken.dtype.kind in "iu" and taken.dtype.itemsize <= 2:
            lowest = int(np.iinfo(taken.dtype).min)
            counts = np.bincount(taken.astype(np.intp) - lowest)
            there = counts.nonzero()[0]
            return cls((there + lowest).astype(np.float64), counts[there])
        values = taken.astype(np.float64)
        return cls(np.asarray(values[np.isfinite(values)]))

    @property
    def size(self) -> int:
        """How many intensities there are."""
        return self.values.size if self.counts is None else int(self.counts.sum())

    def percentiles(self, wanted: Sequence[float]) -> list[float]:
        """As `numpy.percentile` gives them, between values in proportion."""
        if self.counts is None:
            return [float(value) for value in np.percentile(self.values, wanted)]
        places = np.asarray(wanted, np.float64) / 100 * (self.size - 1)
        below = np.floor(places)
        ends = self.counts.cumsum()
        first, second = (
            self.values[ends.searchsorted(np.minimum(place, self.size - 1), side="right")]
            for place in (below, below + 1)
        )
        return [float(value) for value in first + (second - first) * (places - below)]


def _percentiles(sample: Intensities, normalisation: Normalisation) -> tuple[float, float, float]:
    """Low, median, high."""
    low, median, high = sample.percentiles([normalisation.low, 50, normalisation.high])
    if high <= low:  # e.g. a few bright objects on nothing: the percentiles see just the nothing
        low, high = sample.values.min(), sample.values.max()
    return float(low), float(median), float(high)


def _tone(low: float, median: float, high: float) -> float:
    return (2 * median - low - high) / (high - low) if high > low else 0.0


def _otsu_gamma(scaled: FloatArray, often: NDArray[np.intp] | None) -> float:
    """The power that brings Otsu's threshold to 0.5; planes without two classes get little."""
    from skimage.filters import threshold_otsu  # here, as the dock is opened without it

    counts, edges = np.histogram(scaled, bins=256, range=(0, 1), weights=often)
    centres = (edges[:-1] + edges[1:]) / 2
    threshold = threshold_otsu(hist=(counts, centres))  # type: ignore[no-untyped-call]
    return float(np.clip(np.log(0.5) / np.log(threshold), 1 / LARGEST_GAMMA, LARGEST_GAMMA))
