"""Read OME-Zarr, and zarr arrays without any metadata; pixels are read where they are needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_unetpp.errors import UserError
from napari_unetpp.files.image import DAMAGED, ImageFile, LazyPixels, reason_of
from napari_unetpp.files.places import STORE_MARKS, Source, is_url, name_of, zarr_store
from napari_unetpp.files.zarr_metadata import (
    PROVENANCE_KEY,
    geometry_of,
    letters_of,
    parse_multiscale,
)
from napari_unetpp.inference.axes import check_axes, guess_axes

if TYPE_CHECKING:
    from zarr import Array, Group

COUNTED_CHUNKS = 100_000
"""Stores with more chunks are not looked through for missing ones."""
NUMBERS = "biufc"
"""Kinds of numpy's dtypes that can be pixels."""


def open_zarr(source: Source, axes: str | None = None) -> ImageFile[LazyPixels]:
    """Open a folder or URL of zarr; of several images, the first.

    A chunk that is missing counts as the fill value, which is zarr's way to leave out chunks that
    are all the same; `notice` tells of it.

    Raises
    ------
    UserError
        If there is no image, its metadata can't be understood, or the axes don't fit.
    """
    import zarr

    node = _open(source)
    if isinstance(node, zarr.Array):
        pixels = _pixels(node, name_of(source))
        return ImageFile(pixels, _axes_of_array(node, axes), notice=_notice(node, source))
    return _open_group(node, source, axes)


def label_names(source: Source) -> list[str]:
    """The label images in a folder that says of itself to hold some, and no image.

    Raises
    ------
    UserError
        If it is no zarr.
    """
    import zarr

    node = _open(source)
    inner = _inner(node.attrs.asdict()) if isinstance(node, zarr.Group) else {}
    names = inner.get("labels")
    return [str(name) for name in names] if isinstance(names, list) else []


def _open_group(group: Group, source: Source, axes: str | None) -> ImageFile[LazyPixels]:
    name = name_of(source)
    attributes = group.attrs.asdict()
    image = parse_multiscale(attributes, name)
    if image is None:
        return _open_group(_first_image(group, attributes, name), source, axes)
    arrays = [_array(group, dataset.path) for dataset in image.datasets]
    full = arrays[0]
    if full is None:
        raise UserError(
            f"{name} says that its pixels are in {image.datasets[0].path!r}, where no readable "
            "array is: get the folder again."
        )
    described = len(image.axes)
    if described != full.ndim and axes is None:
        raise UserError(
            f"{name} names {described} axes, but its pixels have {full.ndim} (shape {full.shape}): "
            "give the axes yourself, like ZYX."
        )
    letters = letters_of(image.named_axes, name) if axes is None else check_axes(axes, full.shape)
    check_axes(letters, full.shape)  # the file's may lack Y or X
    geometry = geometry_of(image, letters)
    levels = [_pixels(array, name) for array in arrays if array and array.ndim == full.ndim]
    return ImageFile(
        levels[0],
        letters,
        geometry.pixel_size,
        geometry.origin,
        tuple(levels[1:]),
        _notice(full, source),
        "image-label" in _inner(attributes),
        provenance if isinstance(provenance := attributes.get(PROVENANCE_KEY), Mapping) else {},
    )


def _open(source: Source) -> Array[Any] | Group:
    import zarr

    from napari_unetpp.files.checked_store import CheckedStore

    name = name_of(source)
    try:
        return zarr.open(CheckedStore(zarr_store(source)), mode="r")
    except FileNotFoundError as error:
        raise UserError(
            f"{name} is no zarr: it has none of {', '.join(STORE_MARKS)}, so it is empty or "
            "another kind of folder."
        ) from error
    except DAMAGED as error:
        if isinstance(error, UserError):
            raise
        what = "its metadata is no JSON" if isinstance(error, json.JSONDecodeError) else None
        raise UserError(
            f"{name} can't be read as zarr: it is damaged or of another kind "
            f"({what or reason_of(error)})."
        ) from error


def _first_image(group: Group, attributes: Mapping[str, Any], name: str) -> Group:
    """The group with the image where bioformats2raw has put several under one; else a sentence."""
    import zarr

    inner = _inner(attributes)
    if "bioformats2raw.layout" in {*attributes, *inner}:
        first = group.get("0")
        if isinstance(first, zarr.Group) and parse_multiscale(first.attrs.asdict(), name):
            return first
    inside: Sequence[str] = ()
    what = "no image, as the OME-Zarr metadata (multiscales) is missing"
    if isinstance(inner.get("plate"), Mapping):
        what, inside = "a plate rather than an image", _paths(inner["plate"].get("wells"))
        inside = [f"{path}/0" for path in inside]
    elif isinstance(inner.get("well"), Mapping):
        what, inside = "a well rather than an image", _paths(inner["well"].get("images"))
    elif isinstance(inner.get("labels"), list):
        what, inside = "several label images", [str(path) for path in inner["labels"]]
    else:
        inside = _array_names(group)
    remedy = f"give one of its {len(inside)} parts, like {name}/{inside[0]}" if inside else ""
    raise UserError(f"{name} holds {what}: {remedy or 'give the folder of an image'}.")


def _inner(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """What OME-Zarr says; since 0.5 it has a place of its own."""
    inner = attributes.get("ome", attributes)
    return inner if isinstance(inner, Mapping) else {}


def _paths(entries: Any) -> list[str]:
    named = entries if isinstance(entries, list) else []
    return [str(entry["path"]) for entry in named if isinstance(entry, Mapping) and "path" in entry]


def _array_names(group: Group) -> list[str]:
    """The arrays of a group, as far as its place can be listed: web servers can't."""
    try:
        return sorted(group.array_keys())
    except (*DAMAGED, NotImplementedError):
        return []


def _array(group: Group, path: str) -> Array[Any] | None:
    """The array of a resolution; None if there is none that can be read."""
    import zarr

    try:
        array = group.get(path)
    except DAMAGED:
        return None
    return array if isinstance(array, zarr.Array) else None


def _pixels(array: Array[Any], name: str) -> LazyPixels:
    """The pixels, if they are numbers that need no code to be read.

    Raises
    ------
    UserError
        If they are objects, texts or records, or are kept as a pickle.
    """
    from napari_unetpp.files.checked_store import CheckedStore

    described = array.metadata.to_dict()
    codecs = str([described.get(key) for key in ("codecs", "compressor", "filters")])
    if array.dtype.kind not in NUMBERS or "pickle" in codecs:
        raise UserError(
            f"{name} holds {array.dtype} rather than plain numbers, which is not read, as it could "
            "run code: write it again as an array of numbers."
        )
    if isinstance(array.store, CheckedStore):
        array.store.check(array)
    return LazyPixels(array, name)


def _axes_of_array(array: Array[Any], axes: str | None) -> str:
    """The given axes, else those that xarray or zarr itself noted, else the likely ones."""
    if axes is not None:
        return check_axes(axes, array.shape)
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    words = {"TIME": "T", "CHANNEL": "C", "CHANNELS": "C", "DEPTH": "Z"}
    labels = [str(name) for name in names] if isinstance(names, (list, tuple)) else []
    return guess_axes(array.shape, labels=[words.get(name.upper(), name) for name in labels])


def _notice(array: Array[Any], source: Source) -> str:
    if is_url(source) or array.nchunks > COUNTED_CHUNKS:
        return ""
    missing = array.nchunks - array.nchunks_initialized
    if missing <= 0:
        return ""
    return (
        f"{name_of(source)} lacks {missing} of {array.nchunks} chunks, which count as "
        f"{array.fill_value}."
    )
