"""An image with what its file says of it, and pixels that stay in the file until needed."""

from __future__ import annotations

import struct
import weakref
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError

from napari_unetpp.errors import UserError
from napari_unetpp.files.pixel_size import PixelSize
from napari_unetpp.inference.layout import ArrayLike, overview_among

DAMAGED = (
    ArithmeticError,
    AssertionError,
    DecompressionBombError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What tifffile, imageio and zarr raise at truncated and damaged files; found by damaging files."""

Pixels = TypeVar("Pixels", bound=ArrayLike, covariant=True)


@dataclass(frozen=True)
class ImageFile(Generic[Pixels]):
    """An image with what its file says of it.

    Attributes
    ----------
    data : array, or array-like if the image is large
        Any real or complex dtype, native byte order, at least one pixel.
    axes : str
        One letter of TZCYX for each axis; colour is C, as the last.
    pixel_size : PixelSize
        Length of a pixel.
    origin : dict of str to float
        Where the first pixel lies, in µm, for the axes for which the file says it.
    coarser : tuple of array-like
        The same image in ever coarser pixels, if the file has it.
    notice : str
        A sentence for the user if something about the file is odd, and else empty.
    is_labels : bool
        Whether the file says that these are labels rather than intensities.
    provenance : mapping
        How it was made, if it was written by this package.
    """

    data: Pixels
    axes: str
    pixel_size: PixelSize = field(default_factory=PixelSize)
    origin: Mapping[str, float] = field(default_factory=dict)
    coarser: tuple[Pixels, ...] = ()
    notice: str = ""
    is_labels: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def levels(self) -> tuple[Pixels, ...]:
        """The image at all its resolutions, the full one first."""
        return (self.data, *self.coarser)

    @property
    def overview(self) -> Pixels | None:
        """The coarsest that is enough to tell the intensities from, if there is one."""
        return overview_among(self.coarser, self.axes)


class LazyPixels:
    """Pixels of a file, read where they are asked for; the file stays open as long as this is used.

    Parameters
    ----------
    source : array-like
        What to read from: of zarr, or the like.
    name : str
        Of the file, for the sentences.
    order : sequence of int, optional
        The axes of the source in the order of the image.
    close : callable, optional
        Called when nobody uses the pixels any more.
    """

    def __init__(
        self,
        source: ArrayLike,
        name: str,
        *,
        order: Sequence[int] | None = None,
        close: Callable[[], object] | None = None,
    ) -> None:
        self._source, self._name = source, name
        self._order = tuple(range(len(source.shape)) if order is None else order)
        self.shape = tuple(int(source.shape[axis]) for axis in self._order)
        self.dtype = np.dtype(source.dtype).newbyteorder("=")
        chunks = getattr(source, "chunks", source.shape)
        self.chunks = tuple(int(chunks[axis]) for axis in self._order)
        if close is not None:
            weakref.finalize(self, close)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of pixels."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How much memory all of it would take."""
        return self.size * int(self.dtype.itemsize)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part, by integers, slices and an ellipsis.

        Raises
        ------
        UserError
            If the file is damaged there.
        """
        key = self._full(key)
        try:
            part = np.asarray(self._source[tuple(key[axis] for axis in np.argsort(self._order))])
        except DAMAGED as error:
            raise UserError(
                f"A part of {self._name} can't be read: it is damaged ({reason_of(error)})."
            ) from error
        kept = [axis for axis, place in zip(self._order, key, strict=True) if _is_span(place)]
        part = part.transpose(np.argsort(np.argsort(kept)))
        return part.astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it, read into memory."""
        return np.asarray(self[...], dtype)

    def _full(self, key: Any) -> tuple[Any, ...]:
        """The key with a part for each axis."""
        parts = list(key) if isinstance(key, tuple) else [key]
        if not any(part is Ellipsis for part in parts):
            parts.append(Ellipsis)
        place = next(n for n, part in enumerate(parts) if part is Ellipsis)
        missing = self.ndim - (len(parts) - 1)
        if missing < 0:
            raise IndexError(f"{len(parts) - 1} indices for an image with {self.ndim} axes")
        return (*parts[:place], *[slice(None)] * missing, *parts[place + 1 :])


def reason_of(error: Exception) -> str:
    """What an error says, as a part of a sentence."""
    text = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return f"{text} is missing" if isinstance(error, KeyError) else text


def _is_span(place: Any) -> bool:
    return isinstance(place, slice)
