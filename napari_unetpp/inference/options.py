"""How to segment; known to the dock before torch is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_unetpp.inference.axes import Index
from napari_unetpp.inference.tiles import Region
from napari_unetpp.models.spec import Normalisation

TILE = 1152
"""Default of the largest side of a tile: within a tenth of the best throughput, in 2 GB (bf16)."""
SMALLEST_TILE = 128
"""In smaller tiles most pixels are near a side, and the result depends on the tiling."""


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """How to segment.

    Attributes
    ----------
    depth : int, optional
        The deepest head wanted; by default the model's deepest.
    device : {"auto", "cuda", "mps", "cpu"}
        Where; see `choose_device`.
    tile : int
        Largest side of a tile in pixels, halved when memory runs out.
    channel : int, optional
        Which channel a model of one channel sees; by default the only one, or grey from colour.
    normalisation : Normalisation, optional
        In place of the model's own.
    floats : bool
        Probabilities as float32 rather than uint8.
    indices : sequence of Index, optional
        Which planes, in this order; by default all.
    region : (slice, slice), optional
        Which rows and columns, with start and stop set; by default all.
    focus : (float, float), optional
        Row and column from which tiles are done outwards.
    """

    depth: int | None = None
    device: str = "auto"
    tile: int = TILE
    channel: int | None = None
    normalisation: Normalisation | None = None
    floats: bool = False
    indices: Sequence[Index] | None = None
    region: Region | None = None
    focus: tuple[float, float] | None = None
