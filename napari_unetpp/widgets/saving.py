"""Save layers as OME-Zarr or OME-TIFF, piece by piece: for File ▸ Save Selected Layers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_warning

from napari_unetpp.errors import UserError
from napari_unetpp.files import (
    OME_TIFF_SUFFIXES,
    ZARR_SUFFIX,
    PixelSize,
    write_mask_group,
    write_masks,
)
from napari_unetpp.inference.layout import ArrayLike
from napari_unetpp.widgets.geometry import METADATA_KEY
from napari_unetpp.widgets.known_axes import described_axes
from napari_unetpp.widgets.lengths import in_units_of
from napari_unetpp.widgets.opening import LayerData
from napari_unetpp.widgets.spanning import without_axis

Meta = Mapping[str, Any]


@dataclass(frozen=True)
class _Saved:
    """What of a layer goes into a file."""

    name: str
    pixels: ArrayLike
    axes: str
    pixel_size: PixelSize
    origin: Mapping[str, float]
    provenance: Mapping[str, Any]


def save_labels_as_zarr(path: str, layers: list[LayerData]) -> list[str]:
    """Write one labels layer as a label image, several as a folder of them."""
    target = _named(path, (ZARR_SUFFIX,), ".ome.zarr")
    with _told():
        _check_free(target)
        saved = [_saved(data, meta) for data, meta, _ in layers]
        if len(saved) == 1:
            _write(target, saved[0], is_labels=True)
        else:
            _write_group(target, saved)
    return [str(target)]


def save_image_as_zarr(path: str, data: Any, meta: Meta) -> list[str]:
    """Write an image layer of one channel."""
    target = _named(path, (ZARR_SUFFIX,), ".ome.zarr")
    with _told():
        _check_free(target)
        _write(target, _saved(data, meta), is_labels=False)
    return [str(target)]


def save_as_tiff(path: str, data: Any, meta: Meta) -> list[str]:
    """Write a layer as OME-TIFF, BigTIFF where it is large; the dialog has asked to replace it."""
    target = _named(path, OME_TIFF_SUFFIXES, OME_TIFF_SUFFIXES[0])
    with _told():
        _write(target, _saved(data, meta), is_labels="contrast_limits" not in meta)
    return [str(target)]


def _write(target: Path, saved: _Saved, *, is_labels: bool) -> None:
    write_masks(
        target,
        saved.pixels,
        axes=saved.axes,
        pixel_size=saved.pixel_size,
        origin=saved.origin,
        provenance=saved.provenance,
        force=True,
        is_labels=is_labels,
    )


def _write_group(target: Path, layers: list[_Saved]) -> None:
    first = layers[0]
    for other in layers[1:]:
        if (other.axes, other.pixel_size, other.origin) != (
            first.axes,
            first.pixel_size,
            first.origin,
        ):
            raise UserError(
                f"{other.name} lies elsewhere than {first.name}: layers of one image are saved "
                "together, others one by one."
            )
    names = _folder_names([layer.name for layer in layers])
    write_mask_group(
        target,
        ((n, layer.pixels, layer.provenance) for n, layer in zip(names, layers, strict=True)),
        axes=first.axes,
        pixel_size=first.pixel_size,
        origin=first.origin,
    )


def _saved(data: Any, meta: Meta) -> _Saved:
    """Of several levels the finest is saved; the others are made of it again."""
    name, described = str(meta["name"]), meta["metadata"].get(METADATA_KEY, {})
    pixels = data[0] if meta.get("multiscale") else data
    axes = described_axes(
        described, pixels.shape, rgb=bool(meta.get("rgb")), labels=meta["axis_labels"]
    )
    kept = list(range(len(pixels.shape)))
    if "C" in axes:
        channel = axes.index("C")
        if pixels.shape[channel] != 1:
            raise UserError(
                f"{name} has {pixels.shape[channel]} channels: layers of one are saved here, so "
                "split them first (Layers ▸ Split Stack)."
            )
        kept.remove(channel)
        pixels, axes = without_axis(pixels, channel), axes.replace("C", "")
    _warn_of_what_is_lost(name, meta, kept)
    lengths, origin, interval = {}, {}, None
    for axis, number in zip(axes, kept, strict=True):
        scale, start, unit = (meta[key][number] for key in ("scale", "translate", "units"))
        if axis == "T":
            interval = abs(scale) * (in_units_of(unit, "second") or 0.0)
        elif (micrometres := in_units_of(unit, "micrometer")) is not None:
            lengths[axis] = float(abs(scale) * micrometres)
            if start:
                origin[axis] = float(start * micrometres)
    return _Saved(name, pixels, axes, PixelSize.of(lengths, interval), origin, _plain(described))


def _warn_of_what_is_lost(name: str, meta: Meta, kept: list[int]) -> None:
    bare = [n for n in kept if meta["scale"][n] != 1 and str(meta["units"][n]) == "pixel"]
    lost = ["its scale, which has no unit: set one first"] if bare else []
    upright = np.allclose(meta["rotate"], np.eye(len(meta["scale"])))
    straight = not np.any(meta["shear"]) and np.allclose(
        meta["affine"], np.eye(len(meta["affine"]))
    )
    if not (upright and straight):
        lost.append("its rotation, shear or affine")
    if lost:
        show_warning(f"{name} is saved without {', and '.join(lost)}.")


def _plain(described: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(described), default=str))
    return plain


def _folder_names(names: list[str]) -> list[str]:
    """Names of layers that can be those of folders; napari has each just once, and so do we."""
    allowed = ["".join(c if c.isalnum() or c in " -_·" else "_" for c in name) for name in names]
    return [n if allowed.count(n) == 1 else f"{n} {k}" for k, n in enumerate(allowed, start=1)]


def _named(path: str, suffixes: tuple[str, ...], usual: str) -> Path:
    """With the usual end, if it has none that fits: some dialogs leave it out."""
    return Path(path if path.lower().endswith(suffixes) else path + usual)


def _check_free(path: Path) -> None:
    if path.exists():
        raise UserError(f"{path} exists and is kept: choose another name, or remove it first.")


@contextmanager
def _told() -> Iterator[None]:
    """Let a sentence reach the user: napari takes a `ValueError` for a file it doesn't know."""
    try:
        yield
    except UserError as error:
        raise OSError(str(error)) from error
