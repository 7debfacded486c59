"""The answer of the network for an image: a probability for each pixel, head by head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Index, Layout, Region, inside
from napari_unetpp.inference.room import (
    bytes_of,
    check_room,
    fits_in_memory,
    not_written,
    room_for,
)


@dataclass(frozen=True)
class Heads:
    """Probabilities of the heads of a network for a whole image, filled in while it runs.

    Attributes
    ----------
    values : uint8 or float32 array, of numpy or zarr
        Shape ``(head, class, *spatial)``; uint8 is the probability times 255, float32 is in
        [0, 1]. 0 where nothing was computed yet.
    layout : Layout
        How the image is taken apart; `spatial` are its `result_axes`.
    reached : uint8 array
        Shape ``spatial``: how many heads are computed for each pixel, from the shallowest on.
    numbers : tuple of int
        Of the heads, the shallowest first: 1 for L1.
    """

    values: NDArray[Any]
    layout: Layout
    reached: NDArray[np.uint8]
    numbers: tuple[int, ...]

    @classmethod
    def empty(
        cls,
        layout: Layout,
        *,
        numbers: Sequence[int],
        classes: int = 1,
        dtype: Any = np.uint8,
        in_memory: bool | None = None,
    ) -> Heads:
        """Room for the heads of an image; memory, or the disk, is taken as it is filled.

        By default they are in memory if they don't take too much of it, see `room`.

        Raises
        ------
        UserError
            If there is no room for them on the disk.
        """
        shape = layout.result_shape
        all_heads = (len(numbers), classes, *shape)
        if in_memory is None:
            in_memory = fits_in_memory(bytes_of(all_heads, dtype) + bytes_of(shape, np.uint8))
        if not in_memory:
            check_room()
        values = room_for(all_heads, dtype, dims=layout.dims, in_memory=in_memory)
        reached = room_for(shape, np.uint8, dims=layout.dims, in_memory=in_memory)
        return cls(values, layout, reached, tuple(numbers))

    @property
    def in_memory(self) -> bool:
        """Whether the probabilities are in memory rather than on the disk."""
        return isinstance(self.values, np.ndarray)

    @property
    def depth(self) -> int:
        """The number of the last head."""
        return self.numbers[-1]

    @property
    def axes(self) -> str:
        """The spatial axes: those of the image without its channels."""
        return self.layout.result_axes

    @property
    def probabilities(self) -> NDArray[Any]:
        """Shape ``(head, *spatial)``, or ``(head, class, *spatial)`` with several classes."""
        return self.values[:, 0] if self.values.shape[1] == 1 else self.values

    def masks(self, threshold: float = 0.5) -> NDArray[np.uint8]:
        """The mask of each head, shape ``(head, *spatial)``; see `mask_of`."""
        return np.stack([mask_of(head, threshold) for head in self.values])

    def ensemble(self) -> NDArray[Any]:
        """Mean of the computed heads, ``(class, *spatial)`` ("accurate mode", TMI 2020)."""
        return mean_of(self.values, self.reached)

    def disagreement(self) -> NDArray[Any]:
        """How much the computed heads differ, shape ``spatial``, dtype and range of `values`.

        Twice the standard deviation over the heads: 0 where all say the same, the largest value
        where half are sure of one thing and half of the other. With several classes the largest
        of the classes.
        """
        return disagreement_of(self.values, self.reached)

    def read(self, index: Index, region: Region | None = None) -> NDArray[Any]:
        """The probabilities of a piece or of a region of it, ``(head, class, *spatial)``."""
        key = self.layout.result_key(index, region)
        return self.layout.ordered(np.asarray(self.values[(slice(None), slice(None), *key)]))

    def read_reached(self, index: Index, region: Region | None = None) -> NDArray[np.uint8]:
        """How far a piece or a region of it is computed, ``spatial``."""
        key = self.layout.result_key(index, region)
        return self.layout.ordered(np.asarray(self.reached[key]))

    def read_head(self, head: int, index: Index, region: Region) -> NDArray[Any]:
        """The probabilities of one head in a region of a piece: ``(class, *spatial)``."""
        key, place = self.layout.result_key(index, region), self.numbers.index(head)
        return self.layout.ordered(np.asarray(self.values[(place, slice(None), *key)]))

    def write(self, head: int, index: Index, region: Region, values: NDArray[Any]) -> None:
        """Fill in a head in a region of a piece, ``(class, *spatial)``; the shallowest first.

        Raises
        ------
        UserError
            If the results are on the disk, and that is full.
        """
        key, place = self.layout.result_key(index, region), self.numbers.index(head)
        try:
            self.values[(place, slice(None), *key)] = self.layout.as_in_image(values)
            reached = np.asarray(self.reached[key])
            if (reached <= place).any():
                self.reached[key] = np.maximum(reached, place + 1)
        except OSError as error:
            raise not_written(error) from error


@dataclass(frozen=True)
class Window:
    """Heads of a region of one plane or volume; beyond it nothing is kept.

    Attributes
    ----------
    values : uint8 or float32 array
        Shape ``(head, class, *region)``.
    region : tuple of slice
        Where in the plane or volume.
    numbers : tuple of int
        Of the heads.
    """

    values: NDArray[Any]
    region: Region
    numbers: tuple[int, ...]

    def read_head(self, head: int, index: Index, region: Region) -> NDArray[Any]:
        """As in `Heads`."""
        place = self.numbers.index(head)
        found: NDArray[Any] = self.values[place][(..., *inside(region, self.region))]
        return found

    def write(self, head: int, index: Index, region: Region, values: NDArray[Any]) -> None:
        """As in `Heads`."""
        place = self.numbers.index(head)
        self.values[place][(..., *inside(region, self.region))] = values


class LazyMask:
    """The mask of a head, or of the mean of the heads, made where it is read.

    Parameters
    ----------
    heads : Heads
        Of what.
    head : int, optional
        Which one, by its number; by default the mean of all.
    threshold : float
        See `mask_of`.
    """

    def __init__(self, heads: Heads, head: int | None = None, threshold: float = 0.5) -> None:
        self._heads, self._threshold = heads, threshold
        self._place = None if head is None else heads.numbers.index(head)
        self.shape = tuple(int(n) for n in heads.reached.shape)
        self.dtype = np.dtype(np.uint8)
        self.chunks = getattr(heads.reached, "chunks", self.shape)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """A part of the mask, by integers, slices and an ellipsis."""
        key = key if isinstance(key, tuple) else (key,)
        which = slice(None) if self._place is None else slice(self._place, self._place + 1)
        values = np.asarray(self._heads.values[(which, slice(None), *key)])
        if self._place is None:
            mean = mean_of(values, np.asarray(self._heads.reached[key]))
            return mask_of(mean, self._threshold)
        return mask_of(values[0], self._threshold)


def mask_of(probabilities: NDArray[Any], threshold: float = 0.5) -> NDArray[np.uint8]:
    """Class numbers from probabilities.

    Parameters
    ----------
    probabilities : uint8 or float32 array
        Shape ``(class, *spatial)``; uint8 is the probability times 255.
    threshold : float
        In (0, 1]: a pixel belongs to its most probable class if that reaches it.

    Returns
    -------
    uint8 array
        Shape ``spatial``: 0 is background, class n is n.

    Raises
    ------
    UserError
        If the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"The threshold is {threshold}; give one above 0 and up to 1.")
    limit = threshold * 255 if probabilities.dtype == np.uint8 else threshold
    if probabilities.shape[0] == 1:
        return np.asarray(probabilities[0] >= limit, np.uint8)
    best = probabilities.argmax(axis=0)
    sure = probabilities.max(axis=0) >= limit
    return np.where(sure, best + 1, 0).astype(np.uint8)


def mean_of(values: NDArray[Any], reached: NDArray[np.uint8]) -> NDArray[Any]:
    """Mean over the computed heads of any part of `Heads.values` and `Heads.reached`."""
    total = values.sum(axis=0, dtype=np.float32)  # heads that aren't computed are 0
    return _like(values, total / np.maximum(reached, 1))


def disagreement_of(values: NDArray[Any], reached: NDArray[np.uint8]) -> NDArray[Any]:
    """See `Heads.disagreement`; of any part of `Heads.values` and `Heads.reached`."""
    mean = values.sum(axis=0, dtype=np.float32) / np.maximum(reached, 1)
    variance = np.zeros_like(mean)
    for number, head in enumerate(values):
        variance += np.where(reached > number, (head - mean) ** 2, 0)
    spread = 2 * np.sqrt(variance / np.maximum(reached, 1))
    return _like(values, spread.max(axis=0))


def deepest_of(values: NDArray[Any], reached: NDArray[np.uint8]) -> NDArray[Any]:
    """The deepest computed head of each pixel, ``(class, *spatial)``."""
    place = np.maximum(reached, 1)[None, None].astype(np.intp) - 1
    places = np.broadcast_to(place, (1, *values.shape[1:]))
    return np.asarray(np.take_along_axis(values, places, axis=0)[0])


def _like(values: NDArray[Any], result: NDArray[np.float32]) -> NDArray[Any]:
    """Rounded to uint8 if the heads are."""
    return np.asarray(np.rint(result) if values.dtype == np.uint8 else result, values.dtype)
