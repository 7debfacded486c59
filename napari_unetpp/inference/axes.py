"""Axes strings such as "ZYX": guess them, check them, and take an image apart into planes.

The letters are T (time), Z (depth), C (channel), Y and X. A result has the axes of its image
without C, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError

LETTERS = "TZCYX"
Index = tuple[int, ...]


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


def check_axes(axes: str, shape: Sequence[int]) -> str:
    """The axes in capitals, if they fit an image of this shape.

    Raises
    ------
    UserError
        If a letter is unknown or stands twice, if Y or X is missing, or if the number of letters
        is not the number of axes of the image.
    """
    axes = axes.strip().upper()
    unknown = sorted(set(axes) - set(LETTERS))
    if unknown:
        raise UserError(
            f"The axes {axes!r} have the unknown letter {unknown[0]!r}: use T, Z, C, Y and X."
        )
    twice = [letter for letter in LETTERS if axes.count(letter) > 1]
    if twice:
        raise UserError(f"The axes {axes!r} have {twice[0]} twice: use each letter once.")
    if "Y" not in axes or "X" not in axes:
        raise UserError(f"The axes {axes!r} lack Y or X: every image has both.")
    if len(axes) != len(shape):
        raise UserError(
            f"The axes {axes!r} name {len(axes)} axes, but the image has {len(shape)} "
            f"(shape {tuple(shape)}): give one letter for each."
        )
    return axes


def guess_axes(shape: Sequence[int], *, rgb: bool = False, labels: Sequence[str] = ()) -> str:
    """The most likely axes of an image, to be shown to the user and corrected by them.

    Parameters
    ----------
    shape : sequence of int
        Of the image, colour included.
    rgb : bool
        Whether the last axis is known to be colour.
    labels : sequence of str
        Names of the axes (all, or all but colour) if the layer or file has them, like
        ("z", "y", "x"). Names that aren't axes letters are not used.

    Raises
    ------
    UserError
        If the image has fewer than two axes, or more than there are letters.
    """
    shape = tuple(shape)
    colour = "C" if rgb else ""
    named = "".join(labels).upper()
    if all(len(label) == 1 for label in labels) and "Y" in named:
        try:
            return check_axes(named + colour, shape)
        except UserError:
            pass  # the names don't fit the shape, so they say nothing
    plain = len(shape) - len(colour)
    if plain < 2 or plain > 5:
        raise UserError(
            f"The image has shape {shape}; an image has Y and X, and at most T, Z and C besides."
        )
    if plain == 3 and not rgb and shape[-1] in (3, 4) and shape[0] > 4:
        return "YXC"
    return {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TZCYX"}[plain] + colour


@dataclass(frozen=True)
class Planes:
    """An image seen as a row of planes with channels.

    Attributes
    ----------
    axes : str
        The checked axes.
    shape : tuple of int
        Of the image.
    """

    axes: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, image: ArrayLike, axes: str | None = None) -> Planes:
        """Check `axes`, or guess them if they are not given.

        Raises
        ------
        UserError
            If the axes don't fit, or the image has no pixels.
        """
        shape = tuple(int(n) for n in image.shape)
        axes = guess_axes(shape) if axes is None else check_axes(axes, shape)
        if prod(shape) == 0:
            raise UserError(f"The image has shape {shape} and so no pixels: open another one.")
        return cls(axes, shape)

    @property
    def outer_axes(self) -> str:
        """The axes that are gone through plane by plane."""
        return "".join(a for a in self.axes if a not in "CYX")

    @property
    def outer_shape(self) -> tuple[int, ...]:
        """The lengths of `outer_axes`."""
        return tuple(self.shape[self.axes.index(a)] for a in self.outer_axes)

    @property
    def plane_shape(self) -> tuple[int, int]:
        """The lengths of Y and X."""
        return self.shape[self.axes.index("Y")], self.shape[self.axes.index("X")]

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
        """The index of every plane along `outer_axes`."""
        return np.ndindex(*self.outer_shape)

    def take(self, image: ArrayLike, index: Index) -> NDArray[Any]:
        """Read one plane, shape ``(c, y, x)``, dtype as the image."""
        key: list[int | slice] = [slice(None)] * len(self.axes)
        for axis, position in zip(self.outer_axes, index, strict=True):
            key[self.axes.index(axis)] = position
        left = "".join(a for a in self.axes if a in "CYX")
        plane = np.asarray(image[tuple(key)])
        if "C" not in left:
            plane, left = plane[None], "C" + left
        return plane.transpose([left.index(a) for a in "CYX"])

    def result_plane(self, result: NDArray[Any], index: Index) -> NDArray[Any]:
        """A view of one plane, shape ``(…, y, x)``, of an array of ``(…, *result_shape)``."""
        view: NDArray[Any] = result[(..., *self.result_key(index))]
        rows_first = self.axes.index("Y") < self.axes.index("X")
        return view if rows_first else view.swapaxes(-1, -2)

    def result_key(self, index: Index) -> tuple[int | slice, ...]:
        """Where plane `index` stands in an array of `result_shape`; Y and X are whole."""
        places = iter(index)
        return tuple(slice(None) if a in "YX" else next(places) for a in self.result_axes)
