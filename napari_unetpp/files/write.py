"""Write masks with axes, pixel size and provenance, for napari and Fiji."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.atomic import replacing, replacing_folder
from napari_unetpp.errors import UserError
from napari_unetpp.files.image import LazyPixels
from napari_unetpp.files.pixel_size import PixelSize
from napari_unetpp.files.tiff_write import write_tiff
from napari_unetpp.files.zarr_write import ZARR_SUFFIX, create_labels_group, write_label_image
from napari_unetpp.inference.axes import check_axes
from napari_unetpp.inference.layout import ArrayLike

OME_TIFF_SUFFIXES = (".ome.tif", ".ome.tiff")
ORDER = "TZYX"
"""Of the axes in a file: ImageJ, OME-TIFF and OME-Zarr all want it."""


def check_free(path: Path, *, force: bool = False) -> None:
    """Refuse a file or folder that is there already, unless `force` is set.

    Raises
    ------
    UserError
        If it is.
    """
    if path.exists() and not force:
        raise UserError(f"{path} exists and is kept: choose another place or use --force.")


def write_masks(
    path: Path,
    masks: ArrayLike,
    *,
    axes: str,
    pixel_size: PixelSize | None = None,
    origin: Mapping[str, float] | None = None,
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
    is_labels: bool = True,
) -> None:
    """Write masks, instances or probabilities in one step: they are there whole or not at all.

    A path that ends in .zarr becomes OME-Zarr 0.5, with `provenance` among the attributes. Any
    other becomes a TIFF: of ImageJ, deflated, with `provenance` as JSON under "Info" (Fiji: Image ▸
    Show Info…; tifffile: `imagej_metadata["Info"]`). What ImageJ can't hold (numbers above 65 535,
    more than 4 GB), what is read piece by piece, and what is called .ome.tif or .ome.tiff, becomes
    an OME-TIFF, with the provenance in the image's description. Axes of length 1 but Y and X are
    left out when a TIFF is read again.

    Parameters
    ----------
    path : Path
        The file. Its folder is made.
    masks : array-like
        Boolean, integer from 0 up, or float32. Integers take as few bits as they need if they are
        in memory; else what their dtype needs, and never more than 32.
    axes : str
        Letters of TZYX in any order; the file has them in this one.
    pixel_size : PixelSize, optional
        Of the image.
    origin : mapping of str to float, optional
        Where the first pixel lies, in µm; TIFFs don't keep it.
    provenance : mapping, optional
        How it was made; plain values, for JSON.
    force : bool
        Replace the file if it exists.
    is_labels : bool
        Whether these are labels. Intensities, of any real dtype of up to 32 bits or float64, keep
        their dtype.

    Raises
    ------
    UserError
        If the file exists and is not to be replaced, or it can't be written.
    """
    check_free(path, force=force)
    ordered = _ordered(masks, axes, None if is_labels else _dtype_of_image(masks.dtype))
    size, made = pixel_size or PixelSize(), dict(provenance or {})
    if path.suffix.lower() == ZARR_SUFFIX:
        with replacing_folder(path) as folder:
            write_label_image(
                folder,
                *ordered,
                name=path.stem,
                pixel_size=size,
                origin=origin,
                provenance=made,
                is_labels=is_labels,
            )
    else:
        ome = path.name.lower().endswith(OME_TIFF_SUFFIXES)
        with replacing(path) as file:
            write_tiff(file, *ordered, pixel_size=size, provenance=made, ome=ome)


def write_mask_group(
    path: Path,
    masks: Iterable[tuple[str, ArrayLike, Mapping[str, Any]]],
    *,
    axes: str,
    pixel_size: PixelSize | None = None,
    origin: Mapping[str, float] | None = None,
    force: bool = False,
) -> None:
    """Write several masks of one image into a folder of OME-Zarr, in one step.

    Parameters
    ----------
    path : Path
        The folder; each mask gets one of its name inside.
    masks : iterable of (name, array-like, mapping)
        Taken one by one; the mapping is the provenance.
    axes, pixel_size, origin, force
        As in `write_masks`.

    Raises
    ------
    UserError
        If the folder exists and is not to be replaced, or it can't be written.
    """
    check_free(path, force=force)
    with replacing_folder(path) as folder:
        names = []
        for name, pixels, made in masks:
            write_label_image(
                folder / name,
                *_ordered(pixels, axes),
                name=name,
                pixel_size=pixel_size,
                origin=origin,
                provenance=made,
            )
            names.append(name)
        create_labels_group(folder, names)


def _ordered(
    masks: ArrayLike, axes: str, dtype: np.dtype[Any] | None = None
) -> tuple[ArrayLike, str, np.dtype[Any]]:
    """Masks with their axes in the order of a file, these axes, and the dtype of the file."""
    axes = check_axes(axes, masks.shape)
    present = "".join(axis for axis in ORDER if axis in axes)
    order = [axes.index(axis) for axis in present]
    if isinstance(masks, np.ndarray):
        return masks.transpose(order), present, dtype or _least_dtype(masks)
    return LazyPixels(masks, "The mask", order=order), present, dtype or _dtype_for(masks.dtype)


def _least_dtype(masks: NDArray[Any]) -> np.dtype[Any]:
    """What the numbers need."""
    if masks.dtype.kind not in "iu":
        return _dtype_for(masks.dtype)
    highest = int(masks.max(initial=0))
    return np.dtype(np.uint8 if highest <= 255 else np.uint16 if highest <= 65535 else np.uint32)


def _dtype_for(dtype: Any) -> np.dtype[Any]:
    """What numbers of a dtype may need, as far as it can be written."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind in "iu":
        return np.dtype(f"u{min(dtype.itemsize, 4)}")
    return np.dtype(np.float32)


def _dtype_of_image(dtype: Any) -> np.dtype[Any]:
    """That of intensities in a file."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float64 if dtype.itemsize > 4 else np.float32)
    if dtype.kind not in "iu" or dtype.itemsize > 4:
        raise UserError(
            f"The image has dtype {dtype}, which isn't written: convert it to one of up to 32 bits "
            "or to float64."
        )
    return np.dtype(f"{dtype.kind}{dtype.itemsize}")
