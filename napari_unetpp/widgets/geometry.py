"""Between napari's layers and the planes of inference: axes, place on screen, position in space."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from napari.components import Dims, ViewerModel
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_unetpp.inference.layout import ArrayLike, Index, Layout, Region

METADATA_KEY = "napari_unetpp"
NEAR = 256
"""Pixels that are on screen at the most when a place is looked at."""


def image_data(layer: Image, level: int = 0) -> ArrayLike:
    """The pixels of an image layer; of a multiscale one those of a level, 0 at full size."""
    data: ArrayLike = layer.data[level] if layer.multiscale else layer.data
    return data


def factors_of(layer: Image, level: int) -> NDArray[np.float64]:
    """How many pixels at full size one of a level is long, along each axis of the layer."""
    if not layer.multiscale or level == 0:
        return np.ones(layer.ndim)
    return np.asarray(layer.downsample_factors[level], float)


def size_in_words(layer: Image, level: int) -> str:
    """At which size a level is, like "1/4 size"."""
    factor = float(factors_of(layer, level).max())
    return "full size" if factor == 1 else f"1/{factor:.3g} size"


def is_result(layer: Layer) -> bool:
    """Whether a layer was made by the dock, such as the disagreement of heads."""
    return "shows" in layer.metadata.get(METADATA_KEY, {})


def index_on_screen(layer: Image, dims: Dims, layout: Layout, level: int = 0) -> Index:
    """Which plane or volume the sliders stand at."""
    point = _point(layer, dims) / factors_of(layer, level)
    axes = layer_axes(layer, layout)
    return tuple(
        int(np.clip(round(point[axes.index(axis)]), 0, length - 1))
        for axis, length in zip(layout.outer_axes, layout.outer_shape, strict=True)
    )


def channel_on_screen(layer: Image, dims: Dims, layout: Layout) -> int | None:
    """Which channel the sliders stand at; None for a colour image, or one without channels."""
    if layout.is_colour or "C" not in layer_axes(layer, layout):
        return None
    position = _point(layer, dims)[layout.axes.index("C")]
    return int(np.clip(round(position), 0, layout.channels - 1))


def region_on_screen(
    layer: Image,
    viewer: ViewerModel,
    layout: Layout,
    level: int = 0,
    canvas: tuple[int, int] | None = None,
) -> Region:
    """What of a piece is on the canvas; all of it in 3D or with Y or X on a slider.

    Of a volume it is all along Z. napari loads more of a multiscale image than is on screen; with
    the height and width of the canvas that is cut away.
    """
    dims = viewer.dims
    axes = layer_axes(layer, layout)
    shown = {axis - dims.ndim for axis in dims.displayed}
    in_plane = {axes.index(axis) - len(axes) for axis in "YX"}
    if dims.ndisplay != 2 or shown != in_plane:
        return layout.whole
    corners = np.asarray(layer.corner_pixels, float)
    if layer.multiscale:  # they are those of the level shown
        corners = corners * factors_of(layer, layer.data_level)
        if canvas is not None:
            corners = _cut_to_canvas(corners, layer, viewer, canvas)
        corners = corners / factors_of(layer, level)
    parts = []
    for axis, length in zip(layout.spatial_axes, layout.spatial_shape, strict=True):
        first, last = (int(v) for v in corners[:, axes.index(axis)])
        first, last = max(first, 0), min(last + 1, length)
        seen = axis != "Z" and last - first > 1
        parts.append(slice(first, last) if seen else slice(0, length))
    return tuple(parts)


def place_like(layer: Image, layout: Layout, level: int = 0) -> dict[str, Any]:
    """Keyword arguments that put a result layer where its image is, without the channel axis.

    A pixel of a coarser level lies in the middle of those that it stands for. A channel axis that
    has to stay, see `spanned_axis`, is as long as all channels.
    """
    axes = layer_axes(layer, layout)
    factors = factors_of(layer, level)
    scale = np.asarray(layer.scale) * factors
    middle = np.asarray(layer.rotate) @ ((factors - 1) / 2 * np.asarray(layer.scale))
    spanned = spanned_axis(layer, layout)
    keep = [n for n, axis in enumerate(axes) if axis != "C" or n == spanned]
    if spanned is not None:
        middle[spanned] += (layout.channels - 1) / 2 * scale[spanned]
        scale[spanned] *= layout.channels
    square = np.ix_(keep, keep)
    affine = np.asarray(layer.affine.affine_matrix)
    corner = np.ix_([*keep, len(axes)], [*keep, len(axes)])
    return {
        "scale": scale[keep],
        "translate": (np.asarray(layer.translate) + middle)[keep],
        "rotate": np.asarray(layer.rotate)[square],
        "shear": _shear_matrix(layer)[square],
        "affine": affine[corner],
        "units": tuple(layer.units[n] for n in keep),
        "axis_labels": tuple(layer.axis_labels[n] for n in keep),
    }


def spanned_axis(layer: Image, layout: Layout) -> int | None:
    """Which axis of a result stands for the channels of its image; None if it needs none.

    napari lines layers up by their last axes. Without an axis in its place, what comes before
    the channels would follow the wrong slider; with one of length 1 that reaches over all channels,
    the result is seen on each of them.
    """
    position = layer_axes(layer, layout).find("C")
    return position if position > 0 else None


def go_to(
    viewer: ViewerModel,
    layer: Image,
    layout: Layout,
    index: Index,
    place: tuple[float, ...],
    level: int = 0,
    canvas: tuple[int, int] | None = None,
) -> None:
    """Show a place ``spatial`` of a plane or volume in the middle.

    With the height and width of the canvas the camera comes near enough to see it.
    """
    axes = layer_axes(layer, layout)
    factors = factors_of(layer, level)
    position = list(_point(layer, viewer.dims))
    for axis, value in zip(layout.outer_axes + layout.spatial_axes, (*index, *place), strict=True):
        number = axes.index(axis)
        position[number] = value * factors[number]
    world = layer.data_to_world(position)
    offset = viewer.dims.ndim - len(world)  # napari lines layers up by their last axes
    for number, value in enumerate(world):
        viewer.dims.set_point(offset + number, value)
    camera = camera_of(viewer)
    if canvas is not None:
        steps = (np.eye(layer.ndim)[axes.index(axis)] for axis in "YX")
        sides = [np.subtract(layer.data_to_world(position + step), world) for step in steps]
        pixel = max(np.linalg.norm(side) for side in sides)
        camera.zoom = max(camera.zoom, min(canvas) / (NEAR * pixel))
    camera.center = tuple(viewer.dims.point[axis] for axis in viewer.dims.displayed)


def go_to_next(viewer: ViewerModel, layer: Image, layout: Layout) -> bool:
    """Show the next plane of an image; False if this is the last."""
    index = index_on_screen(layer, viewer.dims, layout)
    indices = list(layout.indices())
    position = indices.index(index) + 1
    if position == len(indices):
        return False
    axes = layer_axes(layer, layout)
    point = list(_point(layer, viewer.dims))
    for axis, value in zip(layout.outer_axes, indices[position], strict=True):
        point[axes.index(axis)] = value
    world = layer.data_to_world(point)
    offset = viewer.dims.ndim - len(world)
    for axis in layout.outer_axes:
        number = axes.index(axis)
        viewer.dims.set_point(offset + number, world[number])
    return True


def layer_axes(layer: Image, layout: Layout) -> str:
    """The axes as napari counts them: neither colour is one, nor channels that are layers."""
    return layout.axes if len(layout.axes) == layer.ndim else layout.result_axes


def camera_of(viewer: ViewerModel) -> Any:
    """The camera, which moved in napari 0.9."""
    return getattr(viewer, "scene", viewer).camera


def _cut_to_canvas(
    corners: NDArray[np.float64], layer: Image, viewer: ViewerModel, canvas: tuple[int, int]
) -> NDArray[np.float64]:
    """Of ``(2, ndim)`` corners at full size what the camera sees of them."""
    camera, shown = camera_of(viewer), list(viewer.dims.displayed)
    middle = np.asarray(camera.center, float)[-2:]
    reach = np.asarray(canvas, float) / camera.zoom / 2
    seen = []
    for signs in product((-1, 1), repeat=2):
        world = np.asarray(viewer.dims.point, float)
        world[shown] = middle + reach * signs
        seen.append(layer.world_to_data(world))
    axes = [axis - viewer.dims.ndim + layer.ndim for axis in shown]
    low, high = np.min(seen, axis=0), np.max(seen, axis=0)
    cut = corners.copy()
    cut[0, axes] = np.maximum(corners[0], np.floor(low))[axes]
    cut[1, axes] = np.minimum(corners[1], np.ceil(high))[axes]
    return cut


def _shear_matrix(layer: Image) -> NDArray[np.float64]:
    """Shear as a matrix; napari gives just its upper triangle, as a vector."""
    shear = np.asarray(layer.shear, float)
    if shear.ndim == 2:
        return shear
    matrix = np.eye(layer.ndim)
    matrix[np.triu_indices(layer.ndim, k=1)] = shear
    return matrix


def _point(layer: Image, dims: Dims) -> NDArray[np.float64]:
    return np.asarray(layer.world_to_data(dims.point), float)
