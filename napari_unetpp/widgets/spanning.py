"""Arrays with an axis of length 1 that stands for the channels of an image, and without it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def with_axis(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    """A shape with an axis of length 1, if there has to be one."""
    return shape if axis is None else (*shape[:axis], 1, *shape[axis:])


class WithoutAxis:
    """A lazy array without one of its axes, of length 1; it can be written to.

    Parameters
    ----------
    array : array-like
        Of zarr.
    axis : int
        Which one is left out.
    """

    def __init__(self, array: Any, axis: int) -> None:
        self._array, self._axis = array, axis
        self.shape = tuple(n for number, n in enumerate(array.shape) if number != axis)
        self.ndim = len(self.shape)
        self.dtype = array.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(self._array[self._full(key)])

    def __setitem__(self, key: Any, values: NDArray[Any]) -> None:
        self._array[self._full(key)] = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)

    def _full(self, key: Any) -> tuple[Any, ...]:
        parts = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in parts:
            place = parts.index(Ellipsis)
            missing = self.ndim - len(parts) + 1
            parts[place : place + 1] = [slice(None)] * missing
        return (*parts[: self._axis], 0, *parts[self._axis :])


def without_axis(array: Any, axis: int | None) -> Any:
    """An array without the axis that stands for channels: a view, or as good as one."""
    if axis is None:
        return array
    return np.squeeze(array, axis) if isinstance(array, np.ndarray) else WithoutAxis(array, axis)
