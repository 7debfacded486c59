"""The axes of a layer: those that the user or its file gave it, or a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari.layers import Image

from napari_unetpp.inference.axes import check_axes, guess_axes
from napari_unetpp.widgets.geometry import METADATA_KEY, image_data


def axes_of(layer: Image) -> str:
    """The axes that the user or the file gave the layer, else the likely ones.

    Raises
    ------
    UserError
        If the image has too few or too many axes.
    """
    described = layer.metadata.get(METADATA_KEY, {})
    shape = image_data(layer).shape
    return described_axes(described, shape, rgb=layer.rgb, labels=layer.axis_labels)


def described_axes(
    described: Mapping[str, Any], shape: Sequence[int], *, rgb: bool, labels: Sequence[str]
) -> str:
    """The axes in what describes a layer, if they fit it, else the likely ones.

    napari copies metadata to what it makes of a layer (split, merged, projected), which has other
    axes.

    Raises
    ------
    UserError
        If there are too few or too many axes.
    """
    known = str(described.get("axes", ""))
    of_image = [known.replace("C", "")] if "shows" in described else []  # a result has no channels
    for axes in (known, *of_image):
        if len(axes) == len(shape) and (axes.endswith("C") or not rgb):
            return check_axes(axes, shape)
    return guess_axes(shape, rgb=rgb, labels=labels)


def remember_axes(layer: Image, axes: str) -> None:
    """Keep the axes with the layer, for the next time; not with copies that napari made of it."""
    layer.metadata[METADATA_KEY] = {**layer.metadata.get(METADATA_KEY, {}), "axes": axes}
