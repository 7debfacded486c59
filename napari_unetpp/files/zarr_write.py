"""Write masks as OME-Zarr: at once, or piece by piece, each of them once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unetpp.files.pixel_size import PixelSize
from napari_unetpp.files.places import Source, name_of, zarr_store
from napari_unetpp.files.zarr_metadata import (
    PROVENANCE_KEY,
    Version,
    label_attributes,
    labels_attributes,
)
from napari_unetpp.inference.layout import ArrayLike

if TYPE_CHECKING:
    from zarr import Array, Group

ZARR_SUFFIX = ".zarr"
CHUNK = 1024
"""Side of a chunk of a plane, in pixels."""
OVERVIEW = 1024
"""Planes are halved again and again until none of their sides is longer, in pixels."""
ZSTD_LEVEL = 3
"""Higher levels make masks hardly smaller."""

Piece = tuple[slice, ...]


def create_masks_store(
    target: Source,
    shape: Sequence[int],
    axes: str,
    dtype: Any = np.uint8,
    *,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    pixel_size: PixelSize | None = None,
    origin: Mapping[str, float] | None = None,
    provenance: Mapping[str, Any] | None = None,
    version: Version = "0.5",
    levels: int | None = None,
    name: str | None = None,
    is_labels: bool = True,
) -> list[Array[Any]]:
    """Make a label image of OME-Zarr without pixels, to be filled piece by piece.

    Parameters
    ----------
    target : Path or str
        A folder or URL that doesn't exist, or is empty.
    shape : sequence of int
        Of the masks.
    axes : str
        Letters of TZYX, in this order.
    dtype : dtype
        Of integers. A chunk that is all 0 is not written.
    chunks : sequence of int, optional
        What is compressed as one; by default 1024 × 1024 pixels of a plane.
    shards : sequence of int, optional
        What is kept in one file: multiples of `chunks`. Just for version 0.5; by default each
        chunk has a file of its own.
    pixel_size : PixelSize, optional
        Of the image.
    origin : mapping of str to float, optional
        Where its first pixel lies, in µm.
    provenance : mapping, optional
        How it was made; plain values, for JSON.
    version : {"0.5", "0.4"}
        Of OME-Zarr; 0.5 is zarr 3, 0.4 is zarr 2.
    levels : int, optional
        The number of resolutions, from 1; by default until the last is an overview.
    name : str, optional
        By default that of the folder.
    is_labels : bool
        Whether it says that it is a label image; else it is one of intensities.

    Returns
    -------
    list of zarr arrays
        The resolutions, the finest first. `add_level` makes each of the others from the one before.
    """
    import zarr

    size = pixel_size or PixelSize()
    strides = strides_for(shape, axes, size, levels)
    attributes = label_attributes(
        axes,
        strides,
        name=name or name_of(target).removesuffix(ZARR_SUFFIX),
        version=version,
        pixel_size=size,
        origin=origin or {},
        is_labels=is_labels,
    )
    attributes[PROVENANCE_KEY] = dict(provenance or {})
    group = zarr.create_group(
        zarr_store(target, read_only=False),
        zarr_format=3 if version == "0.5" else 2,
        attributes=attributes,
    )
    if chunks is None:
        chunks = [CHUNK if axis in "YX" else 1 for axis in axes]
    return [
        _create_level(
            group,
            str(level),
            [-(-n // step) for n, step in zip(shape, stride, strict=True)],
            axes,
            dtype,
            chunks,
            shards if version == "0.5" else None,
        )
        for level, stride in enumerate(strides)
    ]


def strides_for(
    shape: Sequence[int], axes: str, pixel_size: PixelSize, levels: int | None = None
) -> list[tuple[int, ...]]:
    """How many pixels of the finest resolution are one of each resolution, along each axis.

    Y and X are halved, and so is Z where a pixel is not longer along it than along X.
    """
    strides = dict.fromkeys(axes, 1)
    found = [tuple(strides.values())]
    sides = dict(zip(axes, shape, strict=True))

    def is_last() -> bool:
        if levels is not None:
            return len(found) >= levels
        return all(-(-sides[axis] // strides[axis]) <= OVERVIEW for axis in "YX")

    lengths = pixel_size.lengths
    while not is_last():
        depth = lengths.get("Z", math.inf) * strides.get("Z", 1)
        for axis in "YX" if depth > lengths.get("X", 0) * strides["X"] else "ZYX":
            strides[axis] *= 2
        found.append(tuple(strides[axis] for axis in axes))
    return found


def pieces(shape: Sequence[int], piece: Sequence[int]) -> Iterator[Piece]:
    """All of an array in pieces that begin at multiples of their length."""
    for number in range(count_pieces(shape, piece)):
        yield piece_at(shape, piece, number)


def count_pieces(shape: Sequence[int], piece: Sequence[int]) -> int:
    """How many pieces an array has."""
    return math.prod(-(-n // side) for n, side in zip(shape, piece, strict=True))


def piece_at(shape: Sequence[int], piece: Sequence[int], number: int) -> Piece:
    """One of the pieces, by its number in the order of the array's elements."""
    counts = [-(-n // side) for n, side in zip(shape, piece, strict=True)]
    starts = [
        int(place) * side
        for place, side in zip(np.unravel_index(number, counts), piece, strict=True)
    ]
    return tuple(
        slice(start, min(start + side, n))
        for start, side, n in zip(starts, piece, shape, strict=True)
    )


def piece_shape(array: Array[Any]) -> tuple[int, ...]:
    """What of an array has to be written by one hand: its shard, or chunk."""
    return tuple(array.shards or array.chunks)


def add_level(finer: Array[Any], coarser: Array[Any], piece: Piece) -> None:
    """Fill a piece of a resolution with every second pixel of the one before.

    Labels can't be averaged.
    """
    ratios = [1 if n == m else 2 for n, m in zip(finer.shape, coarser.shape, strict=True)]
    source = tuple(
        slice(part.start * ratio, min(part.stop * ratio, n), ratio)
        for part, ratio, n in zip(piece, ratios, finer.shape, strict=True)
    )
    coarser[piece] = finer[source]


def create_labels_group(
    target: Source,
    names: Sequence[str],
    version: Version = "0.5",
    *,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Make a group that tells which label images are in it."""
    import zarr

    attributes = labels_attributes(names, version)
    if provenance is not None:
        attributes[PROVENANCE_KEY] = dict(provenance)
    zarr.create_group(
        zarr_store(target, read_only=False),
        zarr_format=3 if version == "0.5" else 2,
        attributes=attributes,
    )


def write_label_image(
    target: Source, pixels: ArrayLike, axes: str, dtype: np.dtype[Any], **about: Any
) -> None:
    """Write a label image, reading `pixels` piece by piece; `about` as in `create_masks_store`.

    What `pixels` keep in one chunk is read at once.
    """
    levels = create_masks_store(target, pixels.shape, axes, dtype, **about)
    sides = piece_shape(levels[0])
    chunks = getattr(pixels, "chunks", sides)
    whole = [side * -(-chunk // side) for side, chunk in zip(sides, chunks, strict=True)]
    for piece in pieces(pixels.shape, whole):
        levels[0][piece] = np.asarray(pixels[piece]).astype(dtype, copy=False)
    for finer, coarser in pairwise(levels):
        for piece in pieces(coarser.shape, piece_shape(coarser)):
            add_level(finer, coarser, piece)


def _create_level(
    group: Group,
    path: str,
    shape: Sequence[int],
    axes: str,
    dtype: Any,
    chunks: Sequence[int],
    shards: Sequence[int] | None,
) -> Array[Any]:
    from zarr.codecs import ZstdCodec

    sides = [min(side, n) for side, n in zip(chunks, shape, strict=True)]
    is_new = group.metadata.zarr_format == 3
    old_codec: Any = {"id": "zstd", "level": ZSTD_LEVEL}
    if shards is not None:  # not more of them than it takes to cover the image
        shards = [
            min(shard // chunk, -(-n // side)) * side
            for shard, chunk, side, n in zip(shards, chunks, sides, shape, strict=True)
        ]
    return group.create_array(
        path,
        shape=tuple(shape),
        chunks=tuple(sides),
        shards=None if shards is None or shards == sides else tuple(shards),
        dtype=dtype,
        compressors=ZstdCodec(level=ZSTD_LEVEL) if is_new else old_codec,
        fill_value=0,
        dimension_names=list(axes.lower()) if is_new else None,
        chunk_key_encoding={"name": "default" if is_new else "v2", "separator": "/"},
    )
