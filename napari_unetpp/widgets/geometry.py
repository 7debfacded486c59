"""Between napari's layers and the planes of inference: axes, place on screen, position in space."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import Dims, ViewerModel
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_unetpp.inference.axes import guess_axes
from napari_unetpp.inference.layout import ArrayLike, Index, Layout

METADATA_KEY = "napari_unetpp"
NEAR = 256
"""Pixels that are on screen at the most when a place is looked at."""


def image_data(layer: Image) -> ArrayLike:
    """The pixels of an image layer; of a multiscale one those at full size."""
    data: ArrayLike = layer.data[0] if layer.multiscale else layer.data
    return data


def is_result(layer: Layer) -> bool:
    """Whether a layer was made by the dock, such as the disagreement of heads."""
    return "shows" in layer.metadata.get(METADATA_KEY, {})


def axes_of(layer: Image) -> str:
    """The axes that the user gave the layer before, else the likely ones.

    Raises
    ------
    UserError
        If the image has too few or too many axes.
    """
    remembered = layer.metadata.get(METADATA_KEY, {}).get("axes")
    if remembered:
        return str(remembered)
    return guess_axes(image_data(layer).shape, rgb=layer.rgb, labels=layer.axis_labels)


def remember_axes(layer: Image, axes: str) -> None:
    """Keep the axes with the layer, for the next time."""
    layer.metadata.setdefault(METADATA_KEY, {})["axes"] = axes


def index_on_screen(layer: Image, dims: Dims, layout: Layout) -> Index:
    """Which plane the sliders stand at."""
    point = _point(layer, dims)
    axes = _layer_axes(layer, layout)
    return tuple(
        int(np.clip(round(point[axes.index(axis)]), 0, length - 1))
        for axis, length in zip(layout.outer_axes, layout.outer_shape, strict=True)
    )


def channel_on_screen(layer: Image, dims: Dims, layout: Layout) -> int | None:
    """Which channel the sliders stand at; None for a colour image, or one without channels."""
    if layout.is_colour or "C" not in layout.axes:
        return None
    position = _point(layer, dims)[layout.axes.index("C")]
    return int(np.clip(round(position), 0, layout.channels - 1))


def region_on_screen(layer: Image, dims: Dims, layout: Layout) -> tuple[slice, slice]:
    """The rows and columns on the canvas; all of them in 3D or with Y or X on a slider."""
    whole = tuple(slice(0, length) for length in layout.spatial_shape)
    axes = _layer_axes(layer, layout)
    shown = {axis - dims.ndim for axis in dims.displayed}
    in_plane = {axes.index(axis) - len(axes) for axis in "YX"}
    if dims.ndisplay != 2 or shown != in_plane:
        return whole[0], whole[1]
    corners = np.asarray(layer.corner_pixels, float)
    if layer.multiscale:  # they are those of the level shown
        corners = corners * layer.downsample_factors[layer.data_level]
    parts = []
    for axis, length in zip("YX", layout.spatial_shape, strict=True):
        first, last = (int(v) for v in corners[:, axes.index(axis)])
        first, last = max(first, 0), min(last + 1, length)
        parts.append(slice(first, last) if last - first > 1 else slice(0, length))
    return parts[0], parts[1]


def place_like(layer: Image, layout: Layout) -> dict[str, Any]:
    """Keyword arguments that put a result layer where its image is, without the channel axis."""
    axes = _layer_axes(layer, layout)
    keep = [n for n, axis in enumerate(axes) if axis != "C"]
    square = np.ix_(keep, keep)
    affine = np.asarray(layer.affine.affine_matrix)
    corner = np.ix_([*keep, len(axes)], [*keep, len(axes)])
    return {
        "scale": np.asarray(layer.scale)[keep],
        "translate": np.asarray(layer.translate)[keep],
        "rotate": np.asarray(layer.rotate)[square],
        "shear": _shear_matrix(layer)[square],
        "affine": affine[corner],
        "units": tuple(layer.units[n] for n in keep),
        "axis_labels": tuple(layer.axis_labels[n] for n in keep),
    }


def go_to(
    viewer: ViewerModel, layer: Image, layout: Layout, index: Index, y: float, x: float
) -> None:
    """Show a place of an image: its plane, and ``(y, x)`` in the middle, near enough to see it."""
    axes = _layer_axes(layer, layout)
    position = list(_point(layer, viewer.dims))
    for axis, value in zip(layout.outer_axes + "YX", (*index, y, x), strict=True):
        position[axes.index(axis)] = value
    world = layer.data_to_world(position)
    offset = viewer.dims.ndim - len(world)  # napari lines layers up by their last axes
    for number, value in enumerate(world):
        viewer.dims.set_point(offset + number, value)
    rows, columns = region_on_screen(layer, viewer.dims, layout)
    shown = min(rows.stop - rows.start, columns.stop - columns.start)
    camera = getattr(viewer, "scene", viewer).camera  # it moved in napari 0.9
    camera.zoom *= max(1.0, shown / NEAR)
    camera.center = tuple(world[axis - offset] for axis in viewer.dims.displayed)


def go_to_next(viewer: ViewerModel, layer: Image, layout: Layout) -> bool:
    """Show the next plane of an image; False if this is the last."""
    index = index_on_screen(layer, viewer.dims, layout)
    indices = list(layout.indices())
    position = indices.index(index) + 1
    if position == len(indices):
        return False
    axes = _layer_axes(layer, layout)
    point = list(_point(layer, viewer.dims))
    for axis, value in zip(layout.outer_axes, indices[position], strict=True):
        point[axes.index(axis)] = value
    world = layer.data_to_world(point)
    offset = viewer.dims.ndim - len(world)
    for axis in layout.outer_axes:
        number = axes.index(axis)
        viewer.dims.set_point(offset + number, world[number])
    return True


def _layer_axes(layer: Image, layout: Layout) -> str:
    """The axes as napari counts them: the colour of an rgb layer is none."""
    return layout.result_axes if layer.rgb else layout.axes


def _shear_matrix(layer: Image) -> NDArray[np.float64]:
    """Shear as a matrix; napari gives just its upper triangle, as a vector."""
    shear = np.asarray(layer.shear, float)
    if shear.ndim == 2:
        return shear
    matrix = np.eye(layer.ndim)
    matrix[np.triu_indices(layer.ndim, k=1)] = shear
    return matrix


def _point(layer: Image, dims: Dims) -> tuple[float, ...]:
    return tuple(layer.world_to_data(dims.point))
