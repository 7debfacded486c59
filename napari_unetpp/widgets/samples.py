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


def nuclei_truth() -> list[LayerData]:
    """The ground truth of `nuclei`: an id for each nucleus."""
    return [_truth("nuclei")]


def stack_truth() -> list[LayerData]:
    """The ground truth of `stack`."""
    return [_truth("stack")]


def volume_truth() -> list[LayerData]:
    """The ground truth of `volume`."""
    return [_truth("volume")]


def histology_truth() -> list[LayerData]:
    """The ground truth of `histology`."""
    return [_truth("histology")]


def _layer(name: str) -> LayerData:
    return layer_of(read_image(sample_path(name)), _TITLES[name])


def _truth(name: str) -> LayerData:
    labels = read_image(sample_path(f"{name}_labels"))
    data, options, _ = layer_of(labels, f"{_TITLES[name]} truth")
    options.pop("rgb", None)
    return data, options, "labels"
