"""Several images of one shape as one: each a channel of it, or all of them its mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.inference.chunks import Key, chunk_shape
from napari_unetpp.inference.layout import ArrayLike


class StackedImages:
    """Images as the channels of one, ``(channel, *shape)``, each read where it is asked for.

    Parameters
    ----------
    images : sequence of array-like
        Of one shape; any real dtypes.
    """

    def __init__(self, images: Sequence[ArrayLike]) -> None:
        self._images = tuple(images)
        self.shape = (len(images), *_shape_of(images))
        self.dtype = np.result_type(*(image.dtype for image in images))
        self.chunks = (1, *_chunks_of(images))

    def __getitem__(self, key: Key) -> NDArray[Any]:
        """Integers and slices, one for each axis."""
        which, *rest = key
        if isinstance(which, int):
            return np.asarray(self._images[which][tuple(rest)], self.dtype)
        chosen = [np.asarray(image[tuple(rest)], self.dtype) for image in self._images[which]]
        return np.stack(chosen)


class MeanImage:
    """The weighted mean of images, in floats, computed where it is asked for.

    Parameters
    ----------
    images : sequence of array-like
        Of one shape; any real dtypes.
    weights : sequence of float
        Above 0; how much of each there is in the mean.
    """

    def __init__(self, images: Sequence[ArrayLike], weights: Sequence[float]) -> None:
        self.dtype = np.result_type(np.float32, *(image.dtype for image in images))
        shares = [self.dtype.type(weight / sum(weights)) for weight in weights]
        self._parts = list(zip(images, shares, strict=True))
        self.shape = _shape_of(images)
        self.chunks = _chunks_of(images)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        """Integers and slices, one for each axis."""
        parts = (np.asarray(image[key], self.dtype) * share for image, share in self._parts)
        return np.asarray(reduce(np.add, parts))


def _shape_of(images: Sequence[ArrayLike]) -> tuple[int, ...]:
    shapes = {tuple(int(n) for n in image.shape) for image in images}
    if len(shapes) != 1:
        raise ValueError(f"Images of the shapes {sorted(shapes)} can't be merged.")
    return shapes.pop()


def _chunks_of(images: Sequence[ArrayLike]) -> tuple[int, ...]:
    """The smallest along each axis: what is in memory has none, and is cut for nothing."""
    return tuple(min(sides) for sides in zip(*map(chunk_shape, images), strict=True))
