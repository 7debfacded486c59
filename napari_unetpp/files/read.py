"""Read an image file with its axes and pixel size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.files.folders import SUFFIXES, TIFF_SUFFIXES
from napari_unetpp.files.image import DAMAGED, ImageFile, reason_of
from napari_unetpp.files.places import Source, is_store, name_of
from napari_unetpp.files.tiff import open_tiff, read_tiff
from napari_unetpp.files.zarr_read import open_zarr
from napari_unetpp.inference.axes import check_axes, guess_axes
from napari_unetpp.inference.layout import ArrayLike

PixelsT = TypeVar("PixelsT", bound=ArrayLike)


def read_image(source: Source, axes: str | None = None) -> ImageFile[NDArray[Any]]:
    """Read an image into memory; of a file with several images, the first.

    Parameters
    ----------
    source : Path or str
        A file, a folder of OME-Zarr, or the URL of one.
    axes : str, optional
        In place of those that the file says or that are guessed.

    Raises
    ------
    UserError
        If the file is missing, empty, no image of a known kind, damaged, truncated, or larger than
        memory, or if the axes don't fit.
    """
    with _sentences(source):
        if is_store(source):
            image = open_zarr(source, axes)
            pixels = _checked(np.asarray(image.data), source)
            return ImageFile(
                pixels, image.axes, image.pixel_size, image.origin, notice=image.notice
            )
        path = _checked_path(source)
        read = read_tiff if _is_tiff(path) else _read_picture
        whole = read(path, axes)
        _checked(whole.data, source)
        return whole


def open_image(source: Source, axes: str | None = None) -> ImageFile[ArrayLike]:
    """As `read_image`, but the pixels of a large image are read where and when they are needed.

    That goes for OME-Zarr and for TIFFs of more than `tiff.LAZY_BYTES`. What is damaged further
    inside shows when it is read, as a `UserError` as well.
    """
    with _sentences(source):
        image: ImageFile[ArrayLike]
        if is_store(source):
            image = open_zarr(source, axes)
        else:
            path = _checked_path(source)
            image = open_tiff(path, axes) if _is_tiff(path) else _read_picture(path, axes)
        _checked(image.data, source)
        return image


@contextmanager
def _sentences(source: Source) -> Iterator[None]:
    """Tell what goes wrong while reading in a sentence."""
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(
            f"{name_of(source)} doesn't fit into memory: cut it into pieces."
        ) from error
    except DAMAGED as error:
        raise UserError(_why_unreadable(source, error)) from error


def _checked(pixels: PixelsT, source: Source) -> PixelsT:
    if 0 in pixels.shape:
        raise UserError(
            f"{name_of(source)} has shape {tuple(pixels.shape)} and so no pixels: leave it out."
        )
    return pixels


def _checked_path(source: Source) -> Path:
    path = Path(source)
    if path.is_dir():
        raise UserError(f"{path} is a folder, not an image.")
    if not path.is_file():
        raise UserError(f"There is no file {path}: check the name.")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path.name} is no image: images end in {', '.join(SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise UserError(f"{path.name} is empty (0 bytes): get the file again.")
    return path


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in TIFF_SUFFIXES


def _why_unreadable(source: Source, error: Exception) -> str:
    name = name_of(source)
    if "imagecodecs" in str(error):  # tifffile reads the rarer compressions with its help
        return f"{name} is compressed in a way that needs imagecodecs: pip install imagecodecs."
    if isinstance(error, OSError) and error.strerror:
        return f"{name} can't be read ({error.strerror})."
    return (
        f"{name} can't be read as an image: it is truncated, damaged or of another kind "
        f"({reason_of(error)})."
    )


def _read_picture(path: Path, axes: str | None) -> ImageFile[NDArray[Any]]:
    data = np.asarray(imageio.imread(path, plugin="pillow", index=0))
    if data.ndim == 3 and data.shape[-1] == 2:
        data = data[..., 0]  # grey, with transparency
    if axes is not None:
        return ImageFile(data, check_axes(axes, data.shape))
    return ImageFile(data, guess_axes(data.shape, rgb=data.ndim == 3))
