"""How long a pixel of a layer is, for models that know the length of theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Layout
from napari_unetpp.widgets.geometry import factors_of, layer_axes


def pixel_size_of(
    layer: Image, layout: Layout, level: int, voxel_size: tuple[float, ...] | None
) -> tuple[float, ...] | None:
    """Lengths of a pixel along the axes of a piece in µm; None where the model takes any.

    An image that has lengths without a unit of length tells how its axes compare: its rows are
    then taken to be as far apart as the model's.

    Raises
    ------
    UserError
        If a length isn't above 0.
    """
    if voxel_size is None:
        return None
    axes = layer_axes(layer, layout)
    numbers = [axes.index(axis) for axis in layout.spatial_axes]
    scale = np.abs(np.asarray(layer.scale) * factors_of(layer, level))
    if not (scale[numbers] > 0).all():
        raise UserError(
            f"{layer.name} has a scale of 0: set it in the layer's controls, in µm for a pixel."
        )
    micrometres = [in_units_of(layer.units[number], "micrometer") for number in numbers]
    if None not in micrometres:
        pairs = zip(numbers, micrometres, strict=True)
        return tuple(float(scale[n] * unit) for n, unit in pairs if unit is not None)
    relative = scale[numbers] / scale[numbers[-2]]
    return tuple(float(r * voxel_size[-2]) for r in relative)


def in_units_of(unit: Any, wanted: str) -> float | None:
    """A unit of a layer in another one; None if it is of another kind, as pixels are."""
    try:
        return float((1 * unit).to(wanted).magnitude)
    except (AttributeError, TypeError, ValueError):  # pint's errors are of these kinds
        return None
