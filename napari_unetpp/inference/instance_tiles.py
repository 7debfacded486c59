"""Instances of planes and volumes that are too large to be separated in one piece.

Each tile is separated with a border around it, and keeps what lies inside. An object that reaches
into several tiles is seen whole by each of them, if it is smaller than the border, and comes out
the same; so its part in a new tile takes the number that the other parts have. No number is
changed afterwards, and only the tiles next to a new one are kept.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.inference.instances import separate
from napari_unetpp.inference.layout import ArrayLike, Layout, Region, common, inside, is_empty
from napari_unetpp.inference.room import room_for

WHOLE_PIXELS = 1 << 24
"""A plane or volume of up to so many pixels is separated in one piece."""
TILE = {2: 2048, 3: 192}
"""Side of a tile, in pixels."""
BORDER = {2: 256, 3: 48}
"""Pixels around a tile that are looked at besides."""

Labels = NDArray[np.int32]
Read = Callable[[Region], NDArray[np.uint8]]


def separate_by_tiles(
    read: Read,
    region: Region,
    *,
    last: int = 0,
    tile: int | None = None,
    border: int | None = None,
) -> Iterator[tuple[Region, Labels]]:
    """Instances of a region of a plane or volume, tile by tile; see `instances.separate`.

    Objects (connected pieces of the mask) that are 10 pixels shorter than the border along each
    axis come out as they would in one piece, but for their numbers. Longer ones are told apart as
    far as a tile and its border show them, and joined where two tiles agree on most of a part.

    Parameters
    ----------
    read : callable
        Gives the mask ``spatial`` of a region.
    region : tuple of slice
        What is separated, with start and stop set.
    last : int
        Numbers begin after it.
    tile, border : int, optional
        In pixels, see `TILE` and `BORDER`. Without a tile, a small region is one.

    Yields
    ------
    tuple of (Region, int32 array)
        Each tile and the numbers in it, 0 for background.
    """
    dims = len(region)
    if tile is None and math.prod(part.stop - part.start for part in region) <= WHOLE_PIXELS:
        found = separate(read(region), dims)
        yield region, np.where(found > 0, found + np.int32(last), 0)
        return
    side, margin = tile or TILE[dims], BORDER[dims] if border is None else border
    starts = [range(part.start, part.stop, side) for part in region]
    strides = (math.prod(len(s) for s in starts[axis + 1 :]) for axis in range(dims))
    kept: deque[tuple[Region, Labels]] = deque(maxlen=sum(strides))  # as far as the next row's end
    for place in product(*starts):
        core = common(tuple(slice(start, start + side) for start in place), region)
        window = common(tuple(slice(p.start - margin, p.stop + margin) for p in core), region)
        found = separate(read(window), dims)
        numbers = _numbers(found, *_known(kept, window), inside(core, window), last)
        labels = numbers[found[inside(core, window)]]
        last = max(last, int(labels.max(initial=0)))
        kept.append((core, labels))
        yield core, labels


def separate_lazily(mask: ArrayLike, layout: Layout) -> ArrayLike:
    """Instances of an image's mask as an array on the disk, see `room`.

    Parameters
    ----------
    mask : array-like
        Shape `layout.result_shape`.
    layout : Layout
        How the image is taken apart; planes or volumes are numbered on from one to the next.
    """
    out = room_for(layout.result_shape, np.int32, dims=layout.dims, in_memory=False)
    last = 0
    for index in layout.indices():

        def read(region: Region, index: tuple[int, ...] = index) -> NDArray[np.uint8]:
            return layout.ordered(np.asarray(mask[layout.result_key(index, region)]))

        for region, labels in separate_by_tiles(read, layout.whole, last=last):
            out[layout.result_key(index, region)] = layout.as_in_image(labels)
            last = max(last, int(labels.max(initial=0)))
    return out  # type: ignore[no-any-return]


def _known(
    kept: Iterable[tuple[Region, Labels]], window: Region
) -> tuple[Labels, NDArray[np.bool_]]:
    """The numbers that are given in a window already, and where that is."""
    shape = [part.stop - part.start for part in window]
    numbers, known = np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
    for core, labels in kept:
        shared = common(core, window)
        if not is_empty(shared):
            numbers[inside(shared, window)] = labels[inside(shared, core)]
            known[inside(shared, window)] = True
    return numbers, known


def _numbers(
    found: Labels, given: Labels, known: NDArray[np.bool_], core: Region, last: int
) -> Labels:
    """For each instance found in a window the number that it has already, or a new one."""
    numbers = np.zeros(int(found.max(initial=0)) + 1, np.int32)
    both = known & (found > 0) & (given > 0)
    pairs, shared = np.unique(np.stack([found[both], given[both]]), axis=1, return_counts=True)
    ours, theirs = pairs
    pixels = np.bincount(found[known], minlength=len(numbers))
    values, counts = np.unique(given[known], return_counts=True)
    # More than half of both: so no number is given twice.
    same = (2 * shared > pixels[ours]) & (2 * shared > counts[np.searchsorted(values, theirs)])
    numbers[ours[same]] = theirs[same]
    inner = np.unique(found[core])
    new = inner[(inner > 0) & (numbers[inner] == 0)]
    numbers[new] = last + 1 + np.arange(len(new))
    return numbers
