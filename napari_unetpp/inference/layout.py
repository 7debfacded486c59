"""How an image is taken apart: into planes for a 2D network, into volumes for a 3D one.

A result has the axes of its image without C, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.axes import check_axes, guess_axes

Index = tuple[int, ...]
Region = tuple[slice, ...]
Dims = Literal[2, 3]


class ArrayLike(Protocol):
    """What is asked of an image: numpy, dask and zarr arrays all have it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        ...

    @property
    def dtype(self) -> Any:
        """Kind of the values."""
        ...

    def __getitem__(self, key: Any, /) -> Any: ...


Pixels = TypeVar("Pixels", bound=ArrayLike)
OVERVIEW = 512
"""Rows and columns that an overview has at least."""


@dataclass(frozen=True)
class Layout:
    """An image seen as a row of pieces with channels: planes (2D) or volumes (3D).

    Attributes
    ----------
    axes : str
        The checked axes.
    shape : tuple of int
        Of the image.
    dims : {2, 3}
        Whether a piece is a plane, of the axes Y and X, or a volume, of Z, Y and X.
    """

    axes: str
    shape: tuple[int, ...]
    dims: Dims = 2

    @classmethod
    def of(cls, image: ArrayLike, axes: str | None = None, *, dims: Dims = 2) -> Layout:
        """Check `axes`, or guess them if they are not given.

        Raises
        ------
        UserError
            If the axes don't fit, the image has no pixels, or has no Z and volumes are asked for.
        """
        shape = tuple(int(n) for n in image.shape)
        axes = guess_axes(shape) if axes is None else check_axes(axes, shape)
        if prod(shape) == 0:
            raise UserError(f"The image has shape {shape} and so no pixels: open another one.")
        if dims == 3 and "Z" not in axes:
            raise UserError(
                f"The model is for volumes, and the image has no Z (axes {axes}): correct the axes "
                "or choose a model for planes."
            )
        return cls(axes, shape, dims)

    @property
    def spatial_axes(self) -> str:
        """The axes of a piece, in this order."""
        return "ZYX"[-self.dims :]

    @property
    def outer_axes(self) -> str:
        """The axes that are gone through piece by piece."""
        return "".join(a for a in self.axes if a not in "C" + self.spatial_axes)

    @property
    def outer_shape(self) -> tuple[int, ...]:
        """The lengths of `outer_axes`."""
        return tuple(self.shape[self.axes.index(a)] for a in self.outer_axes)

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """The lengths of `spatial_axes`."""
        return tuple(self.shape[self.axes.index(a)] for a in self.spatial_axes)

    @property
    def whole(self) -> Region:
        """All of a piece, with start and stop set."""
        return tuple(slice(0, length) for length in self.spatial_shape)

    @property
    def channels(self) -> int:
        """The number of channels; 1 if there is no such axis."""
        return self.shape[self.axes.index("C")] if "C" in self.axes else 1

    @property
    def is_colour(self) -> bool:
        """Whether the channels are red, green, blue (and alpha): three or four, as last axis."""
        return self.axes.endswith("C") and self.channels in (3, 4)

    @property
    def result_axes(self) -> str:
        """The axes of masks: those of the image without C."""
        return self.axes.replace("C", "")

    @property
    def result_shape(self) -> tuple[int, ...]:
        """The lengths of `result_axes`."""
        return tuple(self.shape[self.axes.index(a)] for a in self.result_axes)

    def indices(self) -> Iterator[Index]:
        """The index of every piece along `outer_axes`."""
        return np.ndindex(*self.outer_shape)

    def piece_of(self, plane: Index) -> tuple[Index, int | None]:
        """Which piece a plane of the image lies in, and where along Z; None if it is all of it.

        Parameters
        ----------
        plane : Index
            Over the outer axes of the image taken apart into planes.
        """
        if self.dims == 2:
            return plane, None
        places = dict(zip(replace(self, dims=2).outer_axes, plane, strict=True))
        return tuple(places[a] for a in self.outer_axes), places["Z"]

    def take(self, image: ArrayLike, index: Index, region: Region | None = None) -> NDArray[Any]:
        """Read one piece or a region of it, shape ``(c, *spatial)``, dtype as the image."""
        key = self._key(self.axes, index, region)
        left = "".join(a for a in self.axes if a not in self.outer_axes)
        pixels = np.asarray(image[key])
        if "C" not in left:
            pixels, left = pixels[None], "C" + left
        return pixels.transpose([left.index(a) for a in "C" + self.spatial_axes])

    def result_part(self, result: NDArray[Any], index: Index) -> NDArray[Any]:
        """A view of one piece, shape ``(…, *spatial)``, of an array of ``(…, *result_shape)``."""
        view: NDArray[Any] = result[(..., *self.result_key(index))]
        return self.ordered(view)

    def result_key(self, index: Index, region: Region | None = None) -> tuple[int | slice, ...]:
        """Where a piece, or a region of it, stands in an array of `result_shape`."""
        return self._key(self.result_axes, index, region)

    def in_words(self, index: Index, region: Region) -> str:
        """A region of a piece for the user, like "Z 3, Y 0 to 512, X 96 to 608"."""
        return ", ".join(
            [f"{a} {n}" for a, n in zip(self.outer_axes, index, strict=True)]
            + [
                f"{a} {part.start} to {part.stop}"
                for a, part in zip(self.spatial_axes, region, strict=True)
            ]
        )

    def ordered(self, part: NDArray[Any]) -> NDArray[Any]:
        """A view with the last axes as in `spatial_axes`, where they are as in the image."""
        return part.transpose(*range(part.ndim - self.dims), *self._order(part.ndim))

    def as_in_image(self, part: NDArray[Any]) -> NDArray[Any]:
        """A view with the last axes as in the image, where they are as in `spatial_axes`."""
        first = part.ndim - self.dims
        order = np.argsort([axis - first for axis in self._order(part.ndim)])
        return part.transpose(*range(first), *(first + order))

    def _order(self, ndim: int) -> list[int]:
        """Where each of `spatial_axes` stands among the last axes of a result."""
        there = [a for a in self.result_axes if a in self.spatial_axes]
        return [ndim - self.dims + there.index(a) for a in self.spatial_axes]

    def _key(
        self, axes: str, index: Sequence[int], region: Region | None
    ) -> tuple[int | slice, ...]:
        places: dict[str, int | slice] = dict(zip(self.outer_axes, index, strict=True))
        places |= zip(self.spatial_axes, region or self.whole, strict=True)
        return tuple(places.get(a, slice(None)) for a in axes)


def overview_among(coarser: Iterable[Pixels], axes: str) -> Pixels | None:
    """Of coarser and coarser forms of an image the last that tells its intensities, if one does."""
    sides = [axes.index(axis) for axis in "YX"]
    enough = [level for level in coarser if min(level.shape[n] for n in sides) >= OVERVIEW]
    return enough[-1] if enough else None


def common(region: Region, other: Region) -> Region:
    """What lies in both; empty along an axis where nothing does."""
    starts = [max(a.start, b.start) for a, b in zip(region, other, strict=True)]
    stops = [min(a.stop, b.stop) for a, b in zip(region, other, strict=True)]
    return tuple(slice(start, max(start, stop)) for start, stop in zip(starts, stops, strict=True))


def pixels_of(region: Region) -> int:
    """How many there are in it."""
    return prod(part.stop - part.start for part in region)


def is_empty(region: Region) -> bool:
    """Whether there is nothing in it."""
    return any(part.stop <= part.start for part in region)


def inside(region: Region, outer: Region) -> Region:
    """Where `region` lies, counted from the start of `outer`."""
    return tuple(
        slice(part.start - around.start, part.stop - around.start)
        for part, around in zip(region, outer, strict=True)
    )
