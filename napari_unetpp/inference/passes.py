"""What is computed of a piece, and in which order: a first look, then all heads tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_unetpp.inference.grid import Grid
from napari_unetpp.inference.layout import Region, common, is_empty, pixels_of
from napari_unetpp.inference.tiles import (
    Tile,
    best_sides,
    grown,
    halo,
    nearest_first,
    overlap_for,
    plan_tiles,
)
from napari_unetpp.models.spec import ModelSpec

LOOK_TILE = {2: 1024, 3: 96}
"""Pixels of the side of a tile of the first look: something should be seen soon."""
LOOK_AT_MOST = 1 << 22
"""Pixels. Of more, deeper heads would have to wait too long for the first look."""
SOONER, MORE = 0.75, 0.15
"""Where what is seen is in one tile of those that follow: of its pixels the most that a first look
has, and of its work the most that one adds."""


@dataclass(frozen=True)
class Pass:
    """Once over a piece or a region of it.

    Attributes
    ----------
    depth : int
        All heads up to this one are computed.
    wanted : tuple of slice
        Which region, in pixels of the image.
    tiles : list of Tile
        On the network's grid, in the order in which they are computed.
    """

    depth: int
    wanted: Region
    tiles: list[Tile]


@dataclass(frozen=True, kw_only=True)
class Planner:
    """How pieces are cut.

    Attributes
    ----------
    spec : ModelSpec
        Of the network.
    grid : Grid
        The network's pixels and the image's.
    tile : int
        Largest side of a tile, in pixels of the network.
    is_free : bool
        Whether tiles may be longer one way than the other.
    focus : sequence of float, optional
        The position in the image from which tiles are done outwards.
    """

    spec: ModelSpec
    grid: Grid
    tile: int
    is_free: bool
    focus: Sequence[float] | None = None

    def whole(self, wanted: Region, depth: int) -> Pass:
        """All heads up to `depth`, tile by tile."""
        return Pass(depth, wanted, self._tiles(wanted, depth, self.tile))

    def first_look(
        self, wanted: Region, look: Region | None, then: Pass, share: float
    ) -> Pass | None:
        """The first head alone, of what of `wanted` is looked at.

        None where that would not come much sooner than by the pass that is to follow, `then`, of
        which the first head takes a `share`: where there is but one head, one tile of hardly more
        than what is seen, or too much to look at.
        """
        first = self.spec.heads[0]
        seen = common(look or wanted, wanted)
        pixels = pixels_of(self.grid.of_network(seen))
        if look is None or first == then.depth or is_empty(seen) or pixels > LOOK_AT_MOST:
            return None
        touched = [
            tile for tile in then.tiles if not is_empty(common(self.grid.filled(tile.region), seen))
        ]
        tiles = self._tiles(seen, first, min(self.tile, LOOK_TILE[self.spec.dims]))
        if len(touched) == 1:  # which shows all, but sees more around it than the first head needs
            part = sum(pixels_of(tile.region) for tile in tiles) / pixels_of(touched[0].region)
            if part > SOONER or share * part > MORE:
                return None
        return Pass(first, seen, tiles)

    def _tiles(self, wanted: Region, depth: int, tile: int) -> list[Tile]:
        """Tiles of the network's grid, those next to the focus first."""
        spec = self.spec
        overlap = overlap_for(depth, spec.dims, spec.architecture)
        stride = spec.architecture.shrink(depth)
        # The border of what is wanted sees what lies around it.
        margin = min(overlap // 2 + 2**spec.depth, halo(depth, spec.architecture) + stride)
        around = grown(self.grid.of_network(wanted), margin, self.grid.shape)
        sides: int | tuple[int, ...] = tile
        if self.is_free:
            # From where tiles begin: else one that just fits would be cut in two.
            lengths = [part.stop - part.start // stride * stride for part in around]
            sides = best_sides(lengths, tile=tile, overlap=overlap, stride=stride)
        tiles = [
            tile
            for tile in plan_tiles(around, tile=sides, overlap=overlap, stride=stride)
            if not is_empty(common(self.grid.filled(tile.region), wanted))
        ]
        focus = self.focus
        if focus is not None:
            focus = tuple(x * f for x, f in zip(focus, self.grid.factors, strict=True))
        return nearest_first(tiles, focus)
