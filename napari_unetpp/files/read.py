"""Read an image file with its axes and pixel size."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError

from napari_unetpp.errors import UserError
from napari_unetpp.files.folders import SUFFIXES, TIFF_SUFFIXES
from napari_unetpp.files.pixel_size import PixelSize, pixel_size_of
from napari_unetpp.inference.axes import check_axes, guess_axes

DAMAGED = (
    ArithmeticError,
    AssertionError,
    DecompressionBombError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What tifffile and imageio raise at truncated and damaged files; found by damaging files."""


@dataclass(frozen=True)
class ImageFile:
    """An image with what its file says of it.

    Attributes
    ----------
    data : array
        Any dtype, native byte order, at least one pixel.
    axes : str
        One letter of TZCYX for each axis; colour is C, as the last.
    pixel_size : PixelSize
        Length of a pixel.
    """

    data: NDArray[Any]
    axes: str
    pixel_size: PixelSize = field(default_factory=PixelSize)


def read_image(path: Path) -> ImageFile:
    """Read an image file into memory; of a file with several images, the first.

    Raises
    ------
    UserError
        If the file is missing, empty, no image of a known kind, damaged, truncated, or larger than
        memory.
    """
    _check_is_image(path)
    try:
        image = _read_tiff(path) if path.suffix.lower() in TIFF_SUFFIXES else _read_other(path)
    except MemoryError as error:
        raise UserError(f"{path.name} doesn't fit into memory: cut it into pieces.") from error
    except DAMAGED as error:
        if isinstance(error, UserError):
            raise
        raise UserError(_why_unreadable(path, error)) from error
    if image.data.size == 0:
        raise UserError(f"{path.name} has shape {image.data.shape} and so no pixels: leave it out.")
    return image


def _check_is_image(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a folder, not an image.")
    if not path.is_file():
        raise UserError(f"There is no file {path}: check the name.")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path.name} is no image: images end in {', '.join(SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise UserError(f"{path.name} is empty (0 bytes): get the file again.")


def _why_unreadable(path: Path, error: Exception) -> str:
    if "imagecodecs" in str(error):  # tifffile reads the rarer compressions with its help
        return (
            f"{path.name} is compressed in a way that needs imagecodecs: pip install imagecodecs."
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{path.name} can't be read ({error.strerror})."
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return (
        f"{path.name} can't be read as an image: it is truncated, damaged or of another kind "
        f"({reason})."
    )


def _read_other(path: Path) -> ImageFile:
    data = np.asarray(imageio.imread(path, plugin="pillow", index=0))
    if data.ndim == 3 and data.shape[-1] == 2:
        data = data[..., 0]  # grey, with transparency
    return ImageFile(data, guess_axes(data.shape, rgb=data.ndim == 3))


def _read_tiff(path: Path) -> ImageFile:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        if 0 not in series.shape:
            _check_complete(file, series)
        data, axes = series.asarray(), series.axes.upper()
        pixel_size = pixel_size_of(file)
    if "S" in axes:  # samples are colours, wherever they are kept
        data = np.moveaxis(data, axes.index("S"), -1)
        axes = axes.replace("S", "") + "C"
    try:
        axes = check_axes(axes, data.shape)
    except UserError:  # letters that tifffile gives to axes without a name
        axes = guess_axes(data.shape, rgb=axes.endswith("C"))
    return ImageFile(data.astype(data.dtype.newbyteorder("="), copy=False), axes, pixel_size)


def _check_complete(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Raise a `ValueError` where tifffile would read less than there was, and only log it.

    Cut off are planes (the last of the list of planes points beyond the end of the file, or
    ImageJ's description has more of them) or the ends of planes.
    """
    size = file.filehandle.size
    file.filehandle.seek(file.pages.next_page_offset or 0)
    link = file.filehandle.read(file.tiff.offsetsize)
    cut = len(link) < file.tiff.offsetsize
    cut = cut or struct.unpack(file.tiff.offsetformat, link)[0] >= size
    cut = cut or (file.is_imagej and series.kind != "imagej")
    for page in series.pages:
        if page is None or page.parent is not file:  # OME may keep planes in other files
            continue
        ends = np.asarray(page.dataoffsets, np.int64) + np.asarray(page.databytecounts, np.int64)
        cut = cut or ends.size == 0 or int(ends.max()) > size
    if cut:
        raise ValueError("its end is missing")
