"""Write masks as TIFF, with axes, pixel size and provenance, for napari and Fiji."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_unetpp.atomic import replacing
from napari_unetpp.errors import UserError
from napari_unetpp.files.pixel_size import PixelSize
from napari_unetpp.inference.axes import check_axes

ORDER = "TZYX"
"""Of the axes in a file: both ImageJ and OME want it."""
INFO_KEY = "napari_unetpp"
"""Under which the provenance stands, as others may add theirs."""
IMAGEJ_DTYPES = (np.uint8, np.uint16, np.float32)
IMAGEJ_BYTES = (1 << 32) - (1 << 25)
"""An ImageJ file has offsets of 32 bits; some room is left for what is not pixels."""


def check_free(path: Path, *, force: bool = False) -> None:
    """Refuse a file that is there already, unless `force` is set.

    Raises
    ------
    UserError
        If it is.
    """
    if path.exists() and not force:
        raise UserError(f"{path} exists and is kept: choose another place or use --force.")


def write_masks(
    path: Path,
    masks: NDArray[Any],
    *,
    axes: str,
    pixel_size: PixelSize | None = None,
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write masks, instances or probabilities in one step: the file is there whole or not at all.

    It is an ImageJ TIFF, deflated, with `provenance` as JSON under "Info" (Fiji: Image ▸ Show
    Info…; tifffile: `imagej_metadata["Info"]`). What ImageJ can't hold (numbers above 65 535,
    more than 4 GB) becomes an OME-TIFF, with the provenance in the image's description. Axes of
    length 1 but Y and X are left out when it is read again.

    Parameters
    ----------
    path : Path
        The file. Its folder is made.
    masks : array
        Boolean, integer from 0 up, or float32. Integers take as few bits as they need.
    axes : str
        Letters of TZYX in any order; the file has them in this one.
    pixel_size : PixelSize, optional
        Of the image.
    provenance : mapping, optional
        How it was made; plain values, for JSON.
    force : bool
        Replace the file if it exists.

    Raises
    ------
    UserError
        If the file exists and is not to be replaced, or it can't be written.
    """
    check_free(path, force=force)
    axes = check_axes(axes, masks.shape)
    present = [axis for axis in ORDER if axis in axes]
    pixels = _narrow(masks).transpose([axes.index(axis) for axis in present])
    info = json.dumps({INFO_KEY: dict(provenance or {})}, ensure_ascii=False, indent=2)
    lengths = dict(pixel_size.lengths) if pixel_size else {}
    fits_imagej = pixels.dtype in IMAGEJ_DTYPES and pixels.nbytes <= IMAGEJ_BYTES
    described = _for_imagej if fits_imagej else _for_ome
    with replacing(path) as file:
        pixels, options = described(pixels, "".join(present), lengths, info)
        # No predictor: Fiji doesn't read deflated files that have one.
        tifffile.imwrite(file, pixels, photometric="minisblack", compression="zlib", **options)


def _narrow(masks: NDArray[Any]) -> NDArray[Any]:
    if masks.dtype == bool or (masks.dtype.kind in "iu" and masks.max(initial=0) <= 255):
        return masks.astype(np.uint8)
    if masks.dtype.kind in "iu":
        return masks.astype(np.uint16 if masks.max() <= 65535 else np.uint32)
    return masks.astype(np.float32)


def _for_imagej(
    pixels: NDArray[Any], axes: str, lengths: Mapping[str, float], info: str
) -> tuple[NDArray[Any], dict[str, Any]]:
    """The pixels as TZCYXS, and options of `tifffile.imwrite`; fewer axes it would guess at."""
    lowest, highest = float(pixels.min()), float(pixels.max())
    metadata: dict[str, Any] = {"axes": "TZCYXS", "Info": info}
    metadata |= {"min": lowest, "max": max(highest, lowest + 1)}  # else Fiji shows masks as black
    options: dict[str, Any] = {"imagej": True, "metadata": metadata}
    if {"Y", "X"} <= set(lengths):
        options["resolution"] = (1 / lengths["X"], 1 / lengths["Y"])
        metadata["unit"] = "um"
        if "Z" in lengths:
            metadata["spacing"] = lengths["Z"]
    shape = [pixels.shape[axes.index(axis)] if axis in axes else 1 for axis in "TZCYXS"]
    return pixels.reshape(shape), options


def _for_ome(
    pixels: NDArray[Any], axes: str, lengths: Mapping[str, float], info: str
) -> tuple[NDArray[Any], dict[str, Any]]:
    """The same for an OME-TIFF."""
    metadata: dict[str, Any] = {"axes": axes, "Description": info}
    for axis, length in lengths.items():
        metadata |= {f"PhysicalSize{axis}": length, f"PhysicalSize{axis}Unit": "µm"}
    large = pixels.nbytes > IMAGEJ_BYTES
    return pixels, {"ome": True, "bigtiff": large, "metadata": metadata}
