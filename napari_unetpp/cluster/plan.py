"""What is to be segmented, into what, and in which pieces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_unetpp import __version__
from napari_unetpp.files import Source
from napari_unetpp.files.zarr_metadata import Version
from napari_unetpp.files.zarr_write import count_pieces, piece_at
from napari_unetpp.inference.layout import Index, Layout, Region
from napari_unetpp.inference.options import SegmentOptions

ORDER = "TZYX"
"""Of the axes of OME-Zarr."""
PIECE = {2: 4096, 3: 512}
"""Side of a piece of a plane or volume, in pixels. What a network sees around a piece is computed
more than once: with L4, 9 % of a plane's pixels at 4096."""
CHUNK = {2: 1024, 3: 128}
"""Side of what is compressed as one, in pixels: what a viewer reads."""
ENSEMBLE = "ensemble"
LOOSE_OPTIONS = ("device", "tile", "indices", "region", "focus", "overview")
"""Options that say where and how much at a time, rather than what; they may change in between."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run over one image. It is sent to every worker, and tells it all there is to know.

    Attributes
    ----------
    source : Path or str
        The image; absolute, as workers have folders of their own.
    target : Path or str
        The OME-Zarr that is filled; absolute, too.
    layout : Layout
        How the image is taken apart.
    given_axes : str, optional
        What the user said of its axes.
    results : tuple of str
        "L1", "L2" … or "ensemble": a label image of each.
    depth : int
        The deepest head.
    threshold : float
        Probability from which a pixel belongs to the mask.
    options : SegmentOptions
        How; without its arrays.
    digest : str
        SHA-256 of the model.
    version : {"0.5", "0.4"}
        Of OME-Zarr.
    side : int
        Largest side of a piece, in pixels.
    chunk : int
        Largest side of a chunk, in pixels.
    token : str
        Of this very run, from when it was begun to when it is complete.
    """

    source: Source
    target: Source
    layout: Layout
    given_axes: str | None
    results: tuple[str, ...]
    depth: int
    threshold: float
    options: SegmentOptions
    digest: str
    version: Version = "0.5"
    side: int
    chunk: int
    token: str = ""

    @property
    def axes(self) -> str:
        """The axes of the masks, in the order of OME-Zarr."""
        return "".join(axis for axis in ORDER if axis in self.layout.result_axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of `axes`."""
        return tuple(self.layout.shape[self.layout.axes.index(axis)] for axis in self.axes)

    @property
    def chunks(self) -> tuple[int, ...]:
        """The shape of a chunk, along `axes`."""
        return tuple(self.chunk if a in self.layout.spatial_axes else 1 for a in self.axes)

    @property
    def piece(self) -> tuple[int, ...]:
        """The shape of a piece, along `axes`: whole chunks."""
        side = -(-self.side // self.chunk) * self.chunk
        return tuple(side if a in self.layout.spatial_axes else 1 for a in self.axes)

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return count_pieces(self.shape, self.piece)

    def place(self, number: int) -> tuple[Index, Region]:
        """A piece as its place in the image: which plane or volume, and which part of it."""
        corner = piece_at(self.shape, self.piece, number)
        places = dict(zip(self.axes, corner, strict=True))
        index = tuple(places[axis].start for axis in self.layout.outer_axes)
        return index, tuple(places[axis] for axis in self.layout.spatial_axes)

    def key(self, index: Index, region: Region) -> tuple[int | slice, ...]:
        """Where such a place is in the masks."""
        places: dict[str, int | slice] = dict(zip(self.layout.outer_axes, index, strict=True))
        places |= zip(self.layout.spatial_axes, region, strict=True)
        return tuple(places[axis] for axis in self.axes)

    @property
    def settings(self) -> dict[str, Any]:
        """All that the masks depend on; a run that goes on has to have the same."""
        return {
            "image": str(self.source),
            "shape": list(self.layout.shape),
            "axes": self.layout.axes,
            "model": self.digest,
            "results": list(self.results),
            "depth": self.depth,
            "threshold": self.threshold,
            **_plain(self.options),
            "dims": self.layout.dims,
            "OME-Zarr": self.version,
            "piece": self.side,
            "chunk": self.chunk,
            "version": __version__,
        }


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting that is another one, as a part of a sentence; empty if none is."""
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            return f"{name} was {before.get(name)} and is {now.get(name)}"
    return ""


def _plain(options: SegmentOptions) -> dict[str, Any]:
    """The options that the result depends on, as JSON has them."""
    values = {k: v for k, v in vars(options).items() if k not in LOOSE_OPTIONS and k != "depth"}
    how = values.pop("normalisation", None)
    values["normalisation"] = None if how is None else how.model_dump()
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
