"""The project's own images, for File ▸ Open Sample."""

from __future__ import annotations

from typing import Any

from napari_unetpp.files import read_image, sample_path

LayerData = tuple[Any, dict[str, Any], str]

_TITLES = {
    "nuclei": "nuclei",
    "stack": "nuclei stack",
    "volume": "embryo",
    "histology": "histology",
}


def nuclei() -> list[LayerData]:
    """Fluorescent nuclei, 2D."""
    return [_layer("nuclei")]


def stack() -> list[LayerData]:
    """Nuclei in a tissue, a z-stack."""
    return [_layer("stack")]


def volume() -> list[LayerData]:
    """Nuclei of an early embryo, a volume."""
    return [_layer("volume")]


def histology() -> list[LayerData]:
    """An H&E-like section, RGB."""
    return [_layer("histology")]


def _layer(name: str) -> LayerData:
    image = read_image(sample_path(name))
    axes = image.axes.replace("C", "") if image.axes.endswith("C") else image.axes
    options = {
        "name": _TITLES[name],
        "rgb": image.axes.endswith("C"),
        "scale": [image.pixel_size.lengths.get(axis, 1.0) for axis in axes],
        "units": [image.pixel_size.unit] * len(axes),
        "axis_labels": [axis.lower() for axis in axes],
    }
    return image.data, options, "image"
