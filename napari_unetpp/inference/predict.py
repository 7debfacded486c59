"""Segment an image: axes → normalise → tiles → network → blend → heads.

`segment_tiles` is the one path from an image to its heads; the viewer, the command line and
`segment` all go through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.inference.engine import Run
from napari_unetpp.inference.events import TileEvent
from napari_unetpp.inference.heads import Heads, Window
from napari_unetpp.inference.layout import ArrayLike, Index, Layout, Region
from napari_unetpp.inference.options import SMALLEST_TILE, SegmentOptions
from napari_unetpp.models.file import Model
from napari_unetpp.models.spec import ModelSpec


def segment(
    image: ArrayLike,
    model: Model,
    *,
    axes: str | None = None,
    options: SegmentOptions | None = None,
    progress: Callable[[TileEvent], object] | None = None,
) -> Heads:
    """Segment an image with all heads up to a depth.

    Parameters
    ----------
    image : array-like
        Any real dtype; a lazy one is read tile by tile.
    model : Model
        From `load_model`.
    axes : str, optional
        Like "ZYX", see `inference.axes`; guessed from the shape by default.
    options : SegmentOptions, optional
        How.
    progress : callable, optional
        Called after each head of each tile.

    Returns
    -------
    Heads
        Probabilities ``(head, *spatial)``.

    Raises
    ------
    UserError
        If the image, the axes or an option doesn't fit the model.

    Notes
    -----
    The result does not depend on the tiles but for a difference of at most 0.02 in probability
    (measured: `python -m benchmarks tiling`, and `volumes` in 3D). Planes take none in which the
    head sees too little, unless the CPU's memory runs out, which is said.
    """
    heads, events = segment_tiles(image, model, axes=axes, options=options)
    for event in events:
        if progress is not None:
            progress(event)
    return heads


def segment_tiles(
    image: ArrayLike,
    model: Model,
    *,
    axes: str | None = None,
    options: SegmentOptions | None = None,
    into: Heads | None = None,
) -> tuple[Heads, Iterator[TileEvent]]:
    """As `segment`, step by step: empty heads, and the iterator that fills them.

    Closing the iterator, or not asking on, is how to cancel: what was computed stays. The input
    is checked at once, not at the first step. Heads of an earlier run over the same image, with
    this depth or more, can be filled further by giving them as `into`.
    """
    options = options or SegmentOptions()
    layout = Layout.of(image, axes, dims=model.spec.dims)
    depth = model.spec.checked_depth(options.depth)
    _check(image, layout, options, model.spec)
    dtype = np.float32 if options.floats else np.uint8
    classes = len(model.spec.classes)
    numbers = model.spec.up_to(depth)
    heads = into or Heads.empty(layout, numbers=numbers, classes=classes, dtype=dtype)
    if (
        heads.layout != layout
        or not set(numbers) <= set(heads.numbers)
        or heads.values.shape[1] != classes
    ):
        raise ValueError("`into` holds the heads of another image or model.")
    return heads, Run(image, model, layout, options, depth, heads).events()


def segment_region(
    image: ArrayLike,
    model: Model,
    *,
    index: Index,
    region: Region,
    axes: str | None = None,
    options: SegmentOptions | None = None,
) -> NDArray[Any]:
    """Segment a part of one plane or volume, and keep nothing else.

    Its borders see what lies around them, so that parts computed each on its own, in other
    processes or on other days, fit together as tiles do.

    Parameters
    ----------
    image, model, axes, options
        As for `segment`; the options' own `indices` and `region` are not used.
    index : Index
        Which plane or volume.
    region : tuple of slice
        Which part of it, with start and stop set.

    Returns
    -------
    array
        Probabilities ``(head, class, *region)`` of the heads that the model has up to the depth,
        dtype as for `Heads`.

    Raises
    ------
    UserError
        If the image, the axes or an option doesn't fit the model, or the part can't be read.
    """
    window, events = segment_region_tiles(
        image, model, index=index, region=region, axes=axes, options=options
    )
    for event in events:
        if event.is_left_out:
            raise UserError(event.notice)
    return window.values


def segment_region_tiles(
    image: ArrayLike,
    model: Model,
    *,
    index: Index,
    region: Region,
    axes: str | None = None,
    options: SegmentOptions | None = None,
) -> tuple[Window, Iterator[TileEvent]]:
    """As `segment_region`, step by step; see `segment_tiles`."""
    options = replace(options or SegmentOptions(), indices=[index], region=region)
    layout = Layout.of(image, axes, dims=model.spec.dims)
    depth = model.spec.checked_depth(options.depth)
    _check(image, layout, options, model.spec)
    numbers = model.spec.up_to(depth)
    shape = (len(numbers), len(model.spec.classes), *(part.stop - part.start for part in region))
    window = Window(np.zeros(shape, np.float32 if options.floats else np.uint8), region, numbers)
    return window, Run(image, model, layout, options, depth, window).events()


def _check(image: ArrayLike, layout: Layout, options: SegmentOptions, spec: ModelSpec) -> None:
    """Refuse what doesn't fit, before anything is computed."""
    smallest = SMALLEST_TILE[spec.dims]
    if options.tile is not None and options.tile < smallest:
        raise UserError(f"The tile is {options.tile} pixels; give {smallest} or more.")
    channels_for(layout, spec.in_channels, options.channels)
    if np.issubdtype(image.dtype, np.complexfloating):
        raise UserError(
            "The image is complex; only real images can be segmented: take its magnitude or phase."
        )
    for length in options.pixel_size or ():
        if not 0 < length < float("inf"):
            raise UserError(f"A pixel is {length} µm long; lengths are above 0: correct them.")
    _check_region(options.region, layout.spatial_shape)


def _check_region(region: Region | None, shape: tuple[int, ...]) -> None:
    """Refuse a region that is none, or not all in the plane or volume."""
    for part, length in zip(region or (), shape, strict=region is not None):
        if not 0 <= part.start < part.stop <= length:
            raise UserError(
                f"The region goes from {part.start} to {part.stop}, but the plane has {length} "
                "pixels there: choose a part of it."
            )
