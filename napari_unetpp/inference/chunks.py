"""Lazy images, read chunk by chunk, each of them once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import ArrayLike

KEPT_BYTES = 64 << 20
"""Of chunks that are kept for the tiles to come: neighbouring tiles need the same ones."""

Key = tuple[int | slice, ...]


class UnreadableError(UserError):
    """A part of an image can't be read."""


class ChunkedImage:
    """An image that is read as it is kept on the disk: in whole chunks, of which the last are kept.

    A chunk that several tiles need is read and decompressed once, as long as it is kept.

    Parameters
    ----------
    image : array-like
        A dask or zarr array, or anything else that has chunks or can be sliced.
    """

    def __init__(self, image: ArrayLike) -> None:
        self._image = image
        self.shape = tuple(int(n) for n in image.shape)
        self.dtype = np.dtype(image.dtype)
        self.chunks = chunk_shape(image)
        self._kept: OrderedDict[tuple[int, ...], NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0
        self._chunk_bytes = prod(self.chunks) * self.dtype.itemsize
        too_large = self._chunk_bytes > KEPT_BYTES // 2
        self._direct = isinstance(image, np.ndarray) or too_large

    def __getitem__(self, key: Key) -> NDArray[Any]:
        """Integers and slices without a step, one for each axis.

        Raises
        ------
        UnreadableError
            If the image can't be read there.
        """
        if self._direct:
            return self._read(key)
        spans = [_span(part, length) for part, length in zip(key, self.shape, strict=True)]
        out = np.empty([stop - start for start, stop in spans], self.dtype)
        numbers = [
            range(start // side, -(-stop // side))
            for (start, stop), side in zip(spans, self.chunks, strict=True)
        ]
        self._read_ahead(list(product(*numbers)))
        for number in product(*numbers):
            chunk = self._chunk(number)
            into, part = [], []
            for n, side, (start, stop) in zip(number, self.chunks, spans, strict=True):
                first, last = max(n * side, start), min((n + 1) * side, stop)
                into.append(slice(first - start, last - start))
                part.append(slice(first - n * side, last - n * side))
            out[tuple(into)] = chunk[tuple(part)]
        return out[tuple(0 if isinstance(part, int) else slice(None) for part in key)]

    def _read_ahead(self, numbers: Sequence[tuple[int, ...]]) -> None:
        """Read those that aren't kept at once, if they are a block: dask and zarr share them out.

        Where that fails, nothing is kept: the next to ask hears which one can't be read.
        """
        missing = [number for number in numbers if number not in self._kept]
        if len(missing) < 2:
            return
        low, high = (
            tuple(ends(axis) for axis in zip(*missing, strict=True)) for ends in (min, max)
        )
        count = prod(b - a + 1 for a, b in zip(low, high, strict=True))
        if count != len(missing) or count * self._chunk_bytes > KEPT_BYTES // 2:
            return
        first, last = self._place(low), self._place(high)
        spans = [slice(a.start, b.stop) for a, b in zip(first, last, strict=True)]
        try:
            block = self._read(tuple(spans))
        except UnreadableError:
            return
        for number in missing:
            place = zip(self._place(number), spans, strict=True)
            part = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in place)
            self._keep(number, block[part].copy())

    def _chunk(self, number: tuple[int, ...]) -> NDArray[Any]:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        return self._keep(number, self._read(self._place(number)))

    def _place(self, number: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(
            slice(n * side, min((n + 1) * side, length))
            for n, side, length in zip(number, self.chunks, self.shape, strict=True)
        )

    def _keep(self, number: tuple[int, ...], chunk: NDArray[Any]) -> NDArray[Any]:
        self._kept[number] = chunk
        self._kept_bytes += chunk.nbytes
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return chunk

    def _read(self, key: Key) -> NDArray[Any]:
        try:
            return np.asarray(self._image[key])
        except MemoryError:
            raise
        except UserError as error:  # it says already what is wrong
            raise UnreadableError(str(error)) from error
        except Exception as error:  # a lazy image may be anything, and fail in any way
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            raise UnreadableError(f"A part of the image can't be read ({reason}).") from error


def kept_chunks(image: ArrayLike) -> ArrayLike:
    """A `ChunkedImage`, for several readers of the same parts; what is in memory is as it is."""
    return image if isinstance(image, np.ndarray) else ChunkedImage(image)


def chunk_shape(image: ArrayLike) -> tuple[int, ...]:
    """The largest chunk of a dask or zarr array; all of any other image."""
    chunks: Sequence[int | Sequence[int]] = getattr(image, "chunks", None) or image.shape
    return tuple(max(int(side if isinstance(side, int) else max(side)), 1) for side in chunks)


def _span(part: int | slice, length: int) -> tuple[int, int]:
    if isinstance(part, int):
        return part, part + 1
    return part.indices(length)[:2]
