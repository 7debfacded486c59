"""Open files as layers with their axes, scale and units: napari's own reader leaves these out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dask import array as dask_array

from napari_unetpp.errors import UserError
from napari_unetpp.files import (
    OME_TIFF_SUFFIXES,
    ImageFile,
    is_store,
    label_names,
    open_image,
)
from napari_unetpp.inference.layout import ArrayLike
from napari_unetpp.widgets.geometry import METADATA_KEY

LayerData = tuple[Any, dict[str, Any], str]


def reader_for(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """What napari asks for: a reader for one OME-Zarr or OME-TIFF, and None for all else."""
    if isinstance(path, list):
        return None
    is_ours = is_store(Path(path)) or path.lower().endswith(OME_TIFF_SUFFIXES)
    return read_layers if is_ours else None


def read_layers(path: str) -> list[LayerData]:
    """The image or labels in a file or folder; of a folder of label images, each.

    Raises
    ------
    OSError
        That says in a sentence why it can't be read; napari swallows a `ValueError`.
    """
    source = Path(path)
    try:
        return [layer_of(open_image(each), _name_of(each)) for each in _label_images(source)]
    except UserError as error:
        raise OSError(str(error)) from error


def layer_of(image: ImageFile[Any], name: str) -> LayerData:
    """An image as napari takes it: what is large stays in its file."""
    is_rgb = image.axes.endswith("C") and image.data.shape[-1] in (3, 4)
    axes = image.axes[:-1] if is_rgb else image.axes
    lengths = {**image.pixel_size.lengths}
    units = dict.fromkeys(lengths, "µm")
    if image.pixel_size.interval is not None:
        lengths["T"], units["T"] = image.pixel_size.interval, "s"
    # Of colour napari knows them, until it is split; merged again, its channels come first.
    known = {} if is_rgb else {"axes": image.axes}
    options: dict[str, Any] = {
        "name": name,
        "scale": [lengths.get(axis, 1.0) for axis in axes],
        "translate": [image.origin.get(axis, 0.0) for axis in axes],
        "units": [units.get(axis, "pixel") for axis in axes],
        "axis_labels": [axis.lower() for axis in axes],
        "metadata": {METADATA_KEY: dict(image.provenance) or known},
    }
    levels = [_lazy(level) for level in image.levels]
    options["multiscale"] = len(levels) > 1
    data = levels if len(levels) > 1 else levels[0]
    if _is_labels(image):
        return data, options, "labels"
    return data, {**options, "rgb": is_rgb}, "image"


def _lazy(pixels: ArrayLike) -> Any:
    if isinstance(pixels, np.ndarray):
        return pixels
    chunks = getattr(pixels, "chunks", pixels.shape)
    return dask_array.from_array(pixels, chunks=chunks, name=False)  # type: ignore[no-untyped-call]


def _is_labels(image: ImageFile[Any]) -> bool:
    made = image.provenance
    is_mask = "result" in made or made.get("shows", "disagreement") != "disagreement"
    return np.dtype(image.data.dtype).kind in "iu" and (image.is_labels or is_mask)


def _label_images(source: Path) -> list[Path]:
    """The parts of a folder that says of itself to hold label images; else the source alone."""
    names = label_names(source) if is_store(source) else []
    return [source / name for name in names] or [source]


def _name_of(source: Path) -> str:
    name = source.name
    for suffix in (*OME_TIFF_SUFFIXES, ".ome.zarr", ".zarr"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
