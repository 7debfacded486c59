"""The project's own images, for File ▸ Open Sample."""

from __future__ import annotations

from napari_unetpp.files import read_image, sample_path
from napari_unetpp.widgets.opening import LayerData, layer_of

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
    return layer_of(read_image(sample_path(name)), _TITLES[name])
