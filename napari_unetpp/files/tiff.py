"""Read TIFF files: small ones at once, large ones piece by piece."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.files.image import ImageFile, LazyPixels
from napari_unetpp.files.pixel_size import pixel_size_of
from napari_unetpp.files.tiff_write import INFO_KEY
from napari_unetpp.inference.axes import check_axes, guess_axes
from napari_unetpp.inference.layout import ArrayLike

LAZY_BYTES = 256 << 20
"""Images with more bytes than this stay in their file until they are needed."""
LARGEST_PAGE = 128 << 20
"""Bytes of a plane that is read as a whole; one that has more is read strip by strip."""
BLOCK = 1024
"""Side of the parts in which pixels are read that stand in a file as they are."""


def read_tiff(path: Path, axes: str | None = None) -> ImageFile[NDArray[Any]]:
    """The first image of a file, in memory.

    Raises
    ------
    UserError
        If the given axes don't fit.
    Exception
        One of `DAMAGED`, if the file is.
    """
    with tifffile.TiffFile(path) as file:
        series = _checked_series(file)
        data, letters = series.asarray(), series.axes.upper()
        pixel_size, provenance = pixel_size_of(file), _provenance_of(file)
    order = _order(letters)
    data = data.transpose(order)
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    named = _axes(letters, data.shape, axes)
    return ImageFile(data, named, pixel_size, provenance=provenance)


def open_tiff(path: Path, axes: str | None = None) -> ImageFile[ArrayLike]:
    """As `read_tiff`, but an image of more than `LAZY_BYTES` is left in the file.

    Of a pyramid the coarser images are there, too.
    """
    file = tifffile.TiffFile(path)
    try:
        series = _checked_series(file)
        letters, pixel_size = series.axes.upper(), pixel_size_of(file)
        provenance = _provenance_of(file)
        if series.nbytes <= LAZY_BYTES:
            file.close()
            return read_tiff(path, axes)
        order = _order(letters)
        shape = [series.shape[axis] for axis in order]
        named = _axes(letters, shape, axes)
        levels = [
            LazyPixels(_source(level), path.name, order=order)
            for level in series.levels
            if level.axes == series.axes
        ]
        # The finest level holds the file open for all: whoever has another one has this one, too.
        data = LazyPixels(_source(series), path.name, order=order, close=file.close)
        _ = data[(slice(0, 1),) * data.ndim]  # a compression that can't be read is found out now
    except BaseException:
        file.close()
        raise
    return ImageFile(data, named, pixel_size, coarser=tuple(levels[1:]), provenance=provenance)


class _Contiguous:
    """Pixels that stand in a file as they are, one after the other.

    They are mapped for as long as it takes to copy a part, as pages that stay mapped count as
    memory that is in use.
    """

    def __init__(self, series: tifffile.TiffPageSeries) -> None:
        file = series.keyframe.parent
        self.shape = tuple(series.shape)
        self.dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
        # A part can begin anywhere, so these say just how much is read at a time.
        sides = {"Y": BLOCK, "X": BLOCK, "S": 4}
        letters = series.axes.upper()
        self.chunks = tuple(
            min(sides.get(letter, 1), n) for letter, n in zip(letters, self.shape, strict=True)
        )
        self._path, self._offset = file.filehandle.path, series.dataoffset or 0

    def __getitem__(self, key: Any) -> NDArray[Any]:
        mapped = np.memmap(self._path, self.dtype, "r", self._offset, self.shape)
        return np.array(mapped[key])


def _source(series: tifffile.TiffPageSeries) -> ArrayLike:
    if series.dataoffset is not None:
        return _Contiguous(series)
    import zarr

    page = series.keyframe
    by_page = not page.is_tiled and page.nbytes <= LARGEST_PAGE
    store = series.aszarr(chunkmode=2 if by_page else 0, multiscales=False)
    array: ArrayLike = zarr.open_array(store, mode="r")
    return array


def _checked_series(file: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    series = file.series[0]
    if 0 not in series.shape:
        _check_complete(file, series)
    return series


def _order(letters: str) -> list[int]:
    """The axes with samples, which are colours, as the last, wherever they are kept."""
    return [n for n, a in enumerate(letters) if a != "S"] + [
        n for n, a in enumerate(letters) if a == "S"
    ]


def _axes(letters: str, shape: Sequence[int], given: str | None) -> str:
    """The given axes if there are any, else those of the file, with C for S.

    Axes that the file doesn't name, for which tifffile has letters of its own, are those that are
    left over.
    """
    if given is not None:
        return check_axes(given, shape)
    colour = "C" if "S" in letters else ""
    plain = letters.replace("S", "")
    try:
        return check_axes(plain + colour, shape)
    except UserError:
        pass
    known = [letter for letter in plain[:-2] if letter in "TZC"]
    free = [letter for letter in "ZTC" if letter not in known and letter != colour]
    unnamed = len(plain) - 2 - len(known)
    if not known or not plain.endswith("YX") or unnamed > len(free):
        return guess_axes(shape, rgb=bool(colour))
    taken = iter(sorted(free[:unnamed], key="TZC".index))
    filled = "".join(letter if letter in known else next(taken) for letter in plain[:-2])
    return check_axes(f"{filled}YX{colour}", shape)


def _provenance_of(file: tifffile.TiffFile) -> Mapping[str, Any]:
    """What `write_tiff` noted; nothing in files of others."""
    text: object = None
    if file.is_imagej and file.imagej_metadata:
        text = file.imagej_metadata.get("Info")
    elif file.is_ome and file.ome_metadata:
        text = ElementTree.fromstring(file.ome_metadata).findtext(".//{*}Description")
    try:
        found = json.loads(str(text))[INFO_KEY]
    except (ValueError, TypeError, LookupError):
        return {}
    return found if isinstance(found, Mapping) else {}


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
