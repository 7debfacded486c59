"""Arrays on the disk, of which the chunks that were used last are kept in memory.

A chunk is written when others need its place, and whole: what is filled in piece by piece, and
read again soon, is neither compressed nor read for each piece.
"""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any
from weakref import WeakSet, finalize

import numpy as np
from numpy.typing import NDArray

KEPT_CHUNKS = 32
"""Of each array, unless it is told otherwise: two heads of a tile or more."""

Number = tuple[int, ...]
"""Of a chunk, along each axis."""
_LIVE: WeakSet[DiskArray] = WeakSet()
_LIVE_LOCK = threading.Lock()


class DiskArray:
    """Zeros, to be filled, in a folder that goes when nothing refers to the array any more.

    Several threads may read and write it; each chunk is whole, several of them need not be.

    Parameters
    ----------
    folder : Path
        Is there, and empty.
    shape, chunks : sequence of int
        Of the array, and of a chunk.
    dtype : dtype
        Of the values.
    kept : int, optional
        How many chunks are kept in memory.
    """

    def __init__(
        self,
        folder: Path,
        shape: Sequence[int],
        chunks: Sequence[int],
        dtype: Any,
        kept: int | None = None,
    ) -> None:
        self.folder = folder
        self.shape, self.chunks = tuple(shape), tuple(chunks)
        self.dtype, self.ndim, self.size = np.dtype(dtype), len(self.shape), prod(self.shape)
        self._most = KEPT_CHUNKS if kept is None else kept
        self._lock = threading.RLock()
        self._kept: OrderedDict[Number, NDArray[Any]] = OrderedDict()
        self._changed: set[Number] = set()  # of those that are kept
        self._written: set[Number] = set()
        self._store: Any = None  # made when the first chunk is written
        finalize(self, shutil.rmtree, folder, ignore_errors=True)
        with _LIVE_LOCK:
            _LIVE.add(self)

    @property
    def waiting(self) -> int:
        """Bytes of the chunks that aren't written yet."""
        return int(len(self._changed) * prod(self.chunks) * self.dtype.itemsize)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """A copy of a part, by whatever numpy can be indexed by."""
        ranges, rest = _ranges(key, self.shape)
        out = np.empty([len(each) for each in ranges], self.dtype)
        for number, into, part in self._pieces(ranges):
            with self._lock:
                out[into] = self._chunk(number)[part]
                self._make_room(write=False)
        return np.asarray(out[rest])

    def __setitem__(self, key: Any, values: Any) -> None:
        """Fill a part.

        Raises
        ------
        OSError
            If chunks that have to make room can't be written.
        """
        ranges, rest = _ranges(key, self.shape)
        if all(isinstance(part, (int, slice)) for part in rest):
            filled = np.empty([len(each) for each in ranges], self.dtype)
        else:  # single pixels: others among them stay as they are
            filled = self[tuple(slice(each.start, each.stop, each.step) for each in ranges)]
        filled[rest] = values
        for number, into, part in self._pieces(ranges):
            with self._lock:
                self._chunk(number)[part] = filled[into]
                self._changed.add(number)
                self._make_room(write=True)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)

    def clear(self) -> None:
        """Be zeros again, and take no room."""
        with self._lock:
            self._kept.clear()
            self._changed.clear()
            self._written.clear()
            self._store = None
            shutil.rmtree(self.folder, ignore_errors=True)

    def _pieces(
        self, ranges: Sequence[range]
    ) -> Iterator[tuple[Number, tuple[slice, ...], tuple[slice, ...]]]:
        """Chunks in which a part lies: each with where in the part, and where in the chunk."""
        spans = [_spans(each, side) for each, side in zip(ranges, self.chunks, strict=True)]
        for found in product(*spans):
            number, into, part = zip(*found, strict=True) if found else ((), (), ())
            yield number, into, part

    def _chunk(self, number: Number) -> NDArray[Any]:
        """One that is kept from now on; with the lock held."""
        chunk = self._kept.get(number)
        if chunk is None:
            if number in self._written:
                chunk = np.array(self._store[self._place(number)])
            else:
                shape = [part.stop - part.start for part in self._place(number)]
                chunk = np.zeros(shape, self.dtype)
            self._kept[number] = chunk
        self._kept.move_to_end(number)
        return chunk

    def _make_room(self, *, write: bool) -> None:
        """Let go of the chunks that weren't used for longest; a reader doesn't write them."""
        if len(self._kept) <= self._most:
            return
        for number in list(self._kept)[:-1]:
            if number in self._changed:
                if not write:
                    continue
                self._write(number)
            del self._kept[number]
            if len(self._kept) <= self._most:
                return

    def _write(self, number: Number) -> None:
        if self._store is None:
            import zarr  # here, as it takes a third of a second, and the dock is opened without it

            self._store = zarr.create_array(
                store=self.folder / "values",
                shape=self.shape,
                chunks=self.chunks,
                dtype=self.dtype,
                fill_value=0,
            )
        self._store[self._place(number)] = self._kept[number]
        self._written.add(number)
        self._changed.discard(number)

    def _place(self, number: Number) -> tuple[slice, ...]:
        return tuple(
            slice(n * side, min((n + 1) * side, length))
            for n, side, length in zip(number, self.chunks, self.shape, strict=True)
        )


def waiting_bytes(parent: Path) -> int:
    """Of all arrays of this process with a folder in `parent`: what isn't written yet."""
    with _LIVE_LOCK:
        return sum(array.waiting for array in _LIVE if array.folder.parent == parent)


def _ranges(key: Any, shape: Sequence[int]) -> tuple[list[range], tuple[Any, ...]]:
    """The least ranges, one for each axis, that hold what a key names; and the key within these."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(part is Ellipsis for part in parts):
        place = next(n for n, part in enumerate(parts) if part is Ellipsis)
        parts[place : place + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    found = [_range(part, length) for part, length in zip(parts, shape, strict=True)]
    return [each for each, _ in found], tuple(rest for _, rest in found)


def _range(part: Any, length: int) -> tuple[range, Any]:
    if isinstance(part, slice):
        ranging = range(*part.indices(length))
        if ranging.step > 0:
            return ranging, slice(None)
        return ranging[::-1], slice(None, None, -1)
    places = np.asarray(part)
    if places.dtype == bool:
        places = places.nonzero()[0]
    if places.size and not -length <= places.min() <= places.max() < length:
        raise IndexError(f"{part} is out of bounds for an axis of {length}.")
    places = np.where(places < 0, places + length, places)
    if places.ndim == 0:
        return range(int(places), int(places) + 1), 0
    first = int(places.min()) if places.size else 0
    return range(first, int(places.max()) + 1 if places.size else 0), places - first


def _spans(ranging: range, side: int) -> list[tuple[int, slice, slice]]:
    """The chunks along one axis: number, where in the range, where in the chunk."""
    if not ranging:
        return []
    start, step, found = ranging.start, ranging.step, []
    for number in range(start // side, ranging[-1] // side + 1):
        first = max(0, -(-(number * side - start) // step))
        last = min(len(ranging), -(-((number + 1) * side - start) // step))
        if first < last:
            begin = start + first * step - number * side
            end = begin + (last - first - 1) * step + 1
            found.append((number, slice(first, last), slice(begin, end, step)))
    return found
