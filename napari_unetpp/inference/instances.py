"""Separate touching objects of a mask into instances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

SMOOTHING = 1.0
"""Sigma, in pixels, by which the distance to the background is smoothed."""
NECK = 0.1
"""Two parts are two objects if the neck between them is thinner than the thinner by this share …"""
NOISE = 0.5
"""… and, in half widths, by this many pixels: the steps of a slanted edge make no neck. On the
validation set 0.4 has 0.001 to 0.003 more instance F1, but cuts 40 % of drawn rings, 0.5 cuts 18 %.
"""
SMALLEST = 10
"""Objects of fewer pixels are dropped as specks."""


def separate(mask: NDArray[Any], dims: int = 2) -> NDArray[np.int32]:
    """Instances of a mask: pieces, cut at their necks.

    A watershed of the distance to the background gives one part for each of its peaks; parts
    without a neck between them are joined again, so that a long object stays one.

    Parameters
    ----------
    mask : array
        Shape ``(y, x)`` or ``(z, y, x)``, or with further axes before; everything but 0 is
        foreground. With several classes, each class is separated on its own.
    dims : {2, 3}
        Whether planes are separated one by one, or whole volumes.

    Returns
    -------
    int32 array of the same shape
        0 is background; instances are numbered from 1, each number in one plane or volume only.
    """
    instances = np.zeros(mask.shape, np.int32)
    count = 0
    for index in np.ndindex(*mask.shape[:-dims]):
        for value in np.unique(mask[index]):
            if value:
                separated = _separate_piece(mask[index] == value)
                found = separated > 0
                instances[index][found] = separated[found] + count
                count += int(separated.max())
    return instances


def _separate_piece(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    pieces, count = ndimage.label(mask)
    large = np.bincount(pieces.ravel(), minlength=count + 1) >= SMALLEST
    large[0] = False
    mask = large[pieces]
    distance = ndimage.distance_transform_edt(mask).astype(np.float32)
    height = np.where(mask, ndimage.gaussian_filter(distance, SMOOTHING), 0)
    # Padded, as a plane that is all one plateau would have no peak.
    peaks = local_maxima(np.pad(height, 1), connectivity=1)  # type: ignore[no-untyped-call]
    peaks = peaks[(slice(1, -1),) * mask.ndim]
    seeds, count = ndimage.label(peaks & mask)
    tops = np.zeros(count + 1, np.float32)
    tops[seeds] = height
    parts = watershed(-height, seeds, mask=mask)  # type: ignore[no-untyped-call]
    _, numbers = np.unique(_join(tops, *_passes(parts, height)), return_inverse=True)
    return np.asarray(numbers[parts], np.int32)


def _passes(
    parts: NDArray[np.int32], height: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Pairs of parts that touch ``(n, 2)`` and the height of the pass between, highest first."""
    pairs, heights = [], []
    for axis in range(parts.ndim):
        before = (slice(None),) * axis
        a, b = (*before, slice(1, None)), (*before, slice(None, -1))
        touch = (parts[a] != parts[b]) & (parts[a] > 0) & (parts[b] > 0)
        pairs.append(np.sort(np.stack([parts[a][touch], parts[b][touch]], axis=1), axis=1))
        heights.append(np.minimum(height[a][touch], height[b][touch]))
    pair, level = np.concatenate(pairs), np.concatenate(heights)
    order = np.argsort(-level, kind="stable")
    _, first = np.unique(pair[order], axis=0, return_index=True)
    order = order[np.sort(first)]
    return pair[order], level[order]


def _join(
    tops: NDArray[np.float32], pairs: NDArray[np.int32], levels: NDArray[np.float32]
) -> list[int]:
    """For each part the one that stands for its object, joining over the highest pass first."""
    top, leader = tops.tolist(), list(range(len(tops)))

    def lead(part: int) -> int:
        while leader[part] != part:
            leader[part] = part = leader[leader[part]]
        return part

    for (a, b), level in zip(pairs.tolist(), levels.tolist(), strict=True):
        low, high = sorted((lead(a), lead(b)), key=top.__getitem__)
        if top[low] - level <= max(NOISE, NECK * top[low]):
            leader[low] = high
    return [lead(part) for part in range(len(leader))]
