"""Cut a plane or a volume into overlapping tiles, and blend what comes out of them.

Tiles start at multiples of the stride of the deepest row that is computed, so that its pooling
grids fall on the same pixels as without tiles, and neighbours overlap by nearly twice the halo (how
far a tile's side can be felt inside it). Each neighbour counts where it has seen most of what lies
around, and what difference is left is blended. The tiles are of even size rather than of full size
with a small rest, which computes fewest pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.inference.layout import Region, common, inside, is_empty
from napari_unetpp.network.architecture import DOWNS, SEEN, UNETPP, UPS, Architecture

LARGEST_OVERLAP = {2: 176, 3: 64}
"""Pixels: in 2D nearly twice the halo of L4, deeper networks are cut short. With 160 probabilities
differ by up to 0.06 (`benchmarks tiling`), with 192 by as little as with 176, and more pixels are
computed twice. In 3D as much would be most of a tile; what difference is left is measured by
`benchmarks volumes`."""
BLENDED = 0.1
"""Of an overlap, its middle: nearer to a side too little of what lies beyond the tile is seen."""
NEARLY_FEWEST = 1.025
"""Over the fewest pixels that tiles could compute: with a little more they may be much smaller."""
WORTH = 0.1
"""How much time memory is worth: 2 % more for a tile that is a fifth smaller."""


@dataclass(frozen=True)
class Tile:
    """A piece of a plane or volume.

    Attributes
    ----------
    region : tuple of slice
        Where it is, with start and stop set.
    margins : tuple of (int, int)
        For each axis how far it overlaps the neighbour before and after; 0 at the border.
    """

    region: Region
    margins: tuple[tuple[int, int], ...]

    def weight(self) -> NDArray[np.float32]:
        """What each pixel counts, shape ``spatial``, in [0, 1]; small near neighbours' sides.

        It rises over the middle of an overlap, `BLENDED` of it. It is never quite 0, as a neighbour
        may come later or never.
        """
        lengths = [part.stop - part.start for part in self.region]
        ramps = [_ramp(n, *m) for n, m in zip(lengths, self.margins, strict=True)]
        return np.asarray(reduce(np.multiply.outer, ramps), np.float32)

    def share(self, others: Sequence[Tile]) -> NDArray[np.float32]:
        """The tile's weight over all weights, those of `others` and its own."""
        weight = self.weight()
        total = weight.copy()
        for other in others:
            region = common(self.region, other.region)
            if not is_empty(region):
                total[inside(region, self.region)] += other.weight()[inside(region, other.region)]
        weight /= total
        return weight


def halo(depth: int, architecture: Architecture = UNETPP) -> int:
    """How many pixels inside a tile head `depth` can feel its side: 8, 22, 46, 94 for L1 … L4.

    On the longest way down and up, each node adds the two pixels of its two 3×3 convolutions;
    pooling halves the distance, rounded up, and up-sampling doubles it. Other kinds of sampling
    see further, and dilated convolutions see as far without it.
    """
    down, up = DOWNS[architecture.down], UPS[architecture.up]
    seen = [SEEN * architecture.dilation(row) for row in range(depth + 1)]
    reach = seen[0]
    for row in range(1, depth + 1):
        reach = -(-(reach + down.seen) // down.factor) + seen[row]
    for row in reversed(range(depth)):
        reach = up.factor * (reach + up.seen) + seen[row]
    return reach


def overlap_for(depth: int, dims: int = 2, architecture: Architecture = UNETPP) -> int:
    """The overlap of tiles of a network run to head `depth`, in pixels."""
    return min(2 * halo(depth, architecture), LARGEST_OVERLAP[dims])


def least_tile(depth: int, stride: int, architecture: Architecture = UNETPP) -> int:
    """The side of the smallest tile of a plane in which head `depth` finds what it finds untiled.

    In smaller ones no pixel of an overlap is far enough from a side: tiles of 256² at L4 differ by
    0.16 of probability, of 352² by 0.01 (`benchmarks tiling`).
    """
    return 2 * -(-overlap_for(depth, architecture=architecture) // stride) * stride


def plan_tiles(
    region: Region, *, tile: int | Sequence[int], overlap: int, stride: int
) -> list[Tile]:
    """Cover a region with tiles.

    Parameters
    ----------
    region : tuple of slice
        What to cover, with start and stop set.
    tile : int, or one for each axis
        The largest side of a tile, in pixels (rounded to a multiple of `stride`).
    overlap : int
        The least overlap of neighbours, in pixels.
    stride : int
        Of the deepest row that is computed: tiles start at multiples of it.
    """
    sides = [tile] * len(region) if isinstance(tile, int) else tile
    spans = [
        _spans(part.start, part.stop, side, overlap, stride)
        for part, side in zip(region, sides, strict=True)
    ]
    return [
        Tile(tuple(slice(start, stop) for start, stop, _ in each), tuple(m for *_, m in each))
        for each in product(*spans)
    ]


def best_sides(lengths: Sequence[int], *, tile: int, overlap: int, stride: int) -> tuple[int, ...]:
    """Sides of tiles that hold as much as a square one, and compute nearly fewest pixels twice.

    A plane of 2048² is cut in two one way and in three the other rather than in three both ways.
    Of those that compute at most `NEARLY_FEWEST` as much, and are more than half as large as the
    square, smaller ones are taken where that saves much memory, see `WORTH`.

    Parameters
    ----------
    lengths : sequence of int
        What is to be covered, along each axis.
    tile : int
        Side of the square or cube that there is memory for; no side is more than twice as long.
    overlap, stride : int
        As for `plan_tiles`.
    """
    shared = -(-overlap // stride)
    # Tiles of planes overlap in full; in volumes, where that is cut short anyway, it costs more.
    least = 2 * shared * stride if len(lengths) == 2 else 0
    room = tile ** len(lengths)
    found: list[tuple[int, int, tuple[int, ...]]] = []
    for sides in product(*(_even_sides(n, tile, shared, stride, least) for n in lengths)):
        pieces = tuple(side for side, _ in sides)
        computed = math.prod(side * count for side, count in sides)
        if math.prod(pieces) <= room:
            found.append((computed, math.prod(pieces), pieces))
    if not found:
        return (tile,) * len(lengths)
    fewest = min(found)[0]
    near = [each for each in found if each[0] <= NEARLY_FEWEST * fewest]
    large = [each for each in near if 2 * each[1] > room]
    return min(large or near, key=lambda each: each[0] * each[1] ** WORTH)[2]


def _even_sides(
    length: int, tile: int, shared: int, stride: int, least: int
) -> list[tuple[int, int]]:
    """Sides of tiles that cover a length evenly, each with their number."""
    blocks, found = -(-length // stride), []
    for count in range(1, blocks + 1):
        side = -(-(blocks + (count - 1) * shared) // count) * stride
        if count > 1 and side < least:
            break
        if side <= 2 * tile:
            found.append((side, count))
        if 2 * side < tile or side <= 2 * shared * stride:
            break
    return found or [(tile, blocks)]


def grown(region: Region, margin: int, shape: Sequence[int]) -> Region:
    """A region with a margin around it, as far as there is a plane of this shape."""
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, length))
        for part, length in zip(region, shape, strict=True)
    )


def nearest_first(tiles: Sequence[Tile], focus: Sequence[float] | None) -> list[Tile]:
    """Order tiles by the distance of their centres from `focus`; as they are if it is None."""
    if focus is None:
        return list(tiles)

    def distance(tile: Tile) -> float:
        centre = [(part.start + part.stop) / 2 for part in tile.region]
        return math.dist(centre, focus)

    return sorted(tiles, key=distance)


def blend(
    into: NDArray[Any], values: NDArray[np.float32], share: NDArray[np.float32]
) -> NDArray[Any]:
    """Mix new values into old ones: ``(1 - share) * old + share * new``.

    Parameters
    ----------
    into : uint8 or float32 array
        Shape ``(…, *spatial)``; uint8 holds probabilities times 255.
    values : float32 array
        The same shape, in [0, 1].
    share : float32 array
        Shape ``spatial``, in [0, 1]: the tile's weight over all weights so far, its own included.
    """
    scale = 255 if into.dtype == np.uint8 else 1
    mixed = into + share * (values * scale - into)
    return np.asarray(np.rint(mixed) if into.dtype == np.uint8 else mixed, into.dtype)


Span = tuple[int, int, tuple[int, int]]


def _spans(start: int, stop: int, tile: int, overlap: int, stride: int) -> list[Span]:
    """Start, stop and margins of the tiles along one axis, reckoned in strides."""
    start -= start % stride
    blocks = -(-(stop - start) // stride)
    largest = max(tile // stride, 1)
    if blocks <= largest:
        return [(start, stop, (0, 0))]
    # Tiles must get on: the overlap of small ones is less than asked for.
    shared = min(-(-overlap // stride), largest // 2)
    count = -(-(blocks - shared) // (largest - shared))
    size = -(-(blocks + (count - 1) * shared) // count)
    starts = [start + n * (blocks - size) // (count - 1) * stride for n in range(count)]
    ends = [min(s + size * stride, stop) for s in starts]
    overlaps = [e - s for e, s in zip(ends[:-1], starts[1:], strict=True)]
    margins = zip([0, *overlaps], [*overlaps, 0], strict=True)
    return list(zip(starts, ends, margins, strict=True))


def _ramp(length: int, before: int, after: int) -> NDArray[np.float32]:
    """1 inside, falling to nearly 0 over the middle of the overlap on either side."""
    position = np.arange(length, dtype=np.float32) + 0.5
    weight = np.ones(length, np.float32)
    for distance, margin in ((position, before), (position[::-1], after)):
        if margin:
            weight *= np.clip((distance / margin - 0.5) / BLENDED + 0.5, 1e-3, 1)
    return weight
