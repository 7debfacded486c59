"""Image files: read with their axes and pixel size, write with provenance."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.axes import guess_axes

TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class ImageFile:
    """An image with what its file says of it.

    Attributes
    ----------
    data : array
        Any dtype, native byte order.
    axes : str
        One letter of TZCYX for each axis; colour is C.
    pixel_size : dict of str to float
        Length of a pixel along the axes that have one, in `unit`.
    unit : str
        Unit of `pixel_size`, like "µm"; "pixel" if the file gives none.
    """

    data: NDArray[Any]
    axes: str
    pixel_size: dict[str, float] = field(default_factory=dict)
    unit: str = "pixel"


def image_paths(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name; hidden files are left out.

    Raises
    ------
    UserError
        If there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: check the name.")
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not paths:
        raise UserError(f"There is no image in {folder}: images end in {', '.join(SUFFIXES)}.")
    return paths


def find_pairs(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    """Match the images of a folder with the labels of the same name (the ending may differ).

    Raises
    ------
    UserError
        If a folder is missing or empty, or an image has no labels.
    """
    of_stem = {path.stem: path for path in image_paths(labels)}
    pairs = [(path, of_stem.get(path.stem)) for path in image_paths(images)]
    missing = [image.name for image, label in pairs if label is None]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(pairs)} images have no labels of the same name in {labels}, "
            f"the first is {missing[0]}: add its labels or take the image away."
        )
    return [(image, label) for image, label in pairs if label is not None]


def read_image(path: Path) -> ImageFile:
    """Read an image file into memory.

    Raises
    ------
    UserError
        If the file is missing, is no image of a known kind, or is truncated.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}: check the name.")
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            return _read_tiff(path)
        data = imageio.imread(path)
        return ImageFile(data, guess_axes(data.shape, rgb=data.ndim == 3))
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path.name} can't be read as an image: it is truncated or of another kind ({error})."
        ) from error


def _read_tiff(path: Path) -> ImageFile:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        data = series.asarray()
        axes = series.axes.upper().replace("S", "C")
    if not set(axes) <= set("TZCYX") or len(set(axes)) != len(axes):
        axes = guess_axes(data.shape, rgb="C" in axes[-1:])
    return ImageFile(np.asarray(data, data.dtype.newbyteorder("=")), axes)
