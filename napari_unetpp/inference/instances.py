"""Separate touching objects of a mask into instances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

SMOOTHING = 1.5
"""Sigma, in pixels, by which the distance map is smoothed: one peak an object, not one a bump."""
SEED_DISTANCE = 5
"""The least distance of two objects' centres, in pixels. Both were chosen on the validation set."""
SMALLEST = 10
"""Objects of fewer pixels are dropped as specks."""


def separate(mask: NDArray[Any]) -> NDArray[np.int32]:
    """Instances of a mask: a watershed of the distance to the background, from its peaks.

    Parameters
    ----------
    mask : array
        Shape ``(y, x)`` or with planes before; everything but 0 is foreground. Planes are
        separated one by one; with several classes, each class on its own.

    Returns
    -------
    int32 array of the same shape
        0 is background; instances are numbered from 1, each number in one plane only.
    """
    instances = np.zeros(mask.shape, np.int32)
    count = 0
    for index in np.ndindex(*mask.shape[:-2]):
        for value in np.unique(mask[index]):
            if value:
                separated = _separate_plane(mask[index] == value)
                found = separated > 0
                instances[index][found] = separated[found] + count
                count += int(separated.max())
    return instances


def _separate_plane(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    pieces, count = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    pieces[sizes[pieces] < SMALLEST] = 0
    distance = ndimage.distance_transform_edt(pieces > 0)
    smooth = ndimage.gaussian_filter(distance, SMOOTHING)
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        smooth, min_distance=SEED_DISTANCE, labels=pieces, exclude_border=False
    )
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    separated = watershed(-smooth, seeds, mask=pieces > 0)  # type: ignore[no-untyped-call]
    return np.asarray(separated, np.int32)
