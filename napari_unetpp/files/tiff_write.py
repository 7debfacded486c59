"""Write masks as TIFF: for ImageJ as long as it can hold them, else OME-TIFF."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_unetpp.files.pixel_size import PixelSize
from napari_unetpp.inference.layout import ArrayLike

INFO_KEY = "napari_unetpp"
"""Under which the provenance stands, as others may add theirs."""
IMAGEJ_DTYPES = (np.uint8, np.uint16, np.float32)
IMAGEJ_BYTES = (1 << 32) - (1 << 25)
"""An ImageJ file has offsets of 32 bits; some room is left for what is not pixels."""
TILE = 512
"""Side of the tiles of large files, in pixels."""


def write_tiff(
    file: BinaryIO,
    pixels: ArrayLike,
    axes: str,
    dtype: np.dtype[Any],
    *,
    pixel_size: PixelSize,
    provenance: Mapping[str, Any],
    ome: bool = False,
) -> None:
    """Write an open file.

    Parameters
    ----------
    file : binary file
        Where to.
    pixels : array-like
        Arrays in memory are written in strips; anything else, and what is larger than
        `IMAGEJ_BYTES`, in tiles, reading as many rows at a time as a tile has.
    axes : str
        Letters of TZYX, in this order.
    dtype : numpy dtype
        Of the file.
    pixel_size : PixelSize
        Of the image.
    provenance : mapping
        Plain values, for JSON.
    ome : bool
        Whether it has to be an OME-TIFF.
    """
    info = json.dumps({INFO_KEY: dict(provenance)}, ensure_ascii=False, indent=2)
    large = prod(pixels.shape) * dtype.itemsize > IMAGEJ_BYTES
    # No predictor: Fiji doesn't read deflated files that have one.
    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib"}
    if large or not isinstance(pixels, np.ndarray):
        options |= {"shape": pixels.shape, "dtype": dtype, "tile": (TILE, TILE), "bigtiff": large}
        tiles = _tiles(pixels, dtype)
        tifffile.imwrite(file, tiles, **options, **_for_ome(axes, pixel_size, info))
        return
    array = pixels.astype(dtype, copy=False)
    if dtype in IMAGEJ_DTYPES and not ome:
        # With fewer axes than these it would guess.
        shape = [array.shape[axes.index(axis)] if axis in axes else 1 for axis in "TZCYXS"]
        options |= _for_imagej(array, pixel_size, info)
        array = array.reshape(shape)
    else:
        options |= _for_ome(axes, pixel_size, info)
    tifffile.imwrite(file, array, **options)


def _tiles(pixels: ArrayLike, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """All tiles, plane by plane and row by row; those at the border are filled up with 0."""
    *outer, rows, columns = pixels.shape
    for index in np.ndindex(*outer):
        for top in range(0, rows, TILE):
            band = np.asarray(pixels[(*index, slice(top, min(top + TILE, rows)), slice(None))])
            for left in range(0, columns, TILE):
                part = band[:, left : left + TILE]
                tile = np.zeros((TILE, TILE), dtype)
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile


def _for_imagej(pixels: NDArray[Any], pixel_size: PixelSize, info: str) -> dict[str, Any]:
    """The options of `tifffile.imwrite`."""
    lowest, highest = float(pixels.min()), float(pixels.max())
    metadata: dict[str, Any] = {"axes": "TZCYXS", "Info": info}
    metadata |= {"min": lowest, "max": max(highest, lowest + 1)}  # else Fiji shows masks as black
    options: dict[str, Any] = {"imagej": True, "metadata": metadata}
    lengths = pixel_size.lengths
    if {"Y", "X"} <= set(lengths):
        options["resolution"] = (1 / lengths["X"], 1 / lengths["Y"])
        metadata["unit"] = "um"
        if "Z" in lengths:
            metadata["spacing"] = lengths["Z"]
    if pixel_size.interval is not None:
        metadata["finterval"] = pixel_size.interval
    return options


def _for_ome(axes: str, pixel_size: PixelSize, info: str) -> dict[str, Any]:
    """The same for an OME-TIFF."""
    metadata: dict[str, Any] = {"axes": axes, "Description": info}
    for axis, length in pixel_size.lengths.items():
        metadata |= {f"PhysicalSize{axis}": length, f"PhysicalSize{axis}Unit": "µm"}
    if pixel_size.interval is not None:
        metadata |= {"TimeIncrement": pixel_size.interval, "TimeIncrementUnit": "s"}
    return {"ome": True, "metadata": metadata}
