"""How deep? Each head of a model measured on a part of an image: how right, how fast, how large."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.depths import (
    ENSEMBLE,
    PIECE,
    by_name,
    device_for,
    measure_costs,
)
from napari_unetpp.evaluation.metrics import PixelCounts
from napari_unetpp.evaluation.parts import in_words, spread_pieces, window
from napari_unetpp.evaluation.recommend import DepthRow, Depths
from napari_unetpp.evaluation.scores import Cost
from napari_unetpp.evaluation.steps import Steps, result_of, scaled
from napari_unetpp.inference.chunks import UnreadableError
from napari_unetpp.inference.grid import Grid
from napari_unetpp.inference.heads import mask_of, mean_of
from napari_unetpp.inference.layout import ArrayLike, Index, Layout, Region
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment_region_tiles
from napari_unetpp.inference.reading import Reader
from napari_unetpp.models.file import Model

Truth = Callable[[Index, Region], tuple[NDArray[Any], NDArray[np.bool_]]]
"""Of a region of a plane or volume the classes (or instances, of one class) and where these are
known, both ``spatial``."""
SCORED = 0.6
"""How much of the work is done, about, when the masks are compared."""


def how_deep(
    image: ArrayLike,
    model: Model,
    *,
    axes: str | None = None,
    options: SegmentOptions | None = None,
    labels: NDArray[Any] | None = None,
    known: NDArray[np.bool_] | None = None,
    threshold: float = 0.5,
) -> Depths:
    """Measure each head of a model, and the ensemble of all, on a part of an image.

    Of a large image just a part is looked at: `MOST` pixels around the middle of the middle plane
    or, with labels, of as many planes that have some (or known pixels), evenly spread.

    Parameters
    ----------
    image : array-like
        Any real dtype.
    model : Model
        For planes or volumes.
    axes : str, optional
        Like "ZYX"; guessed from the shape by default.
    options : SegmentOptions, optional
        How; `indices` and `region` choose another part.
    labels : int array, optional
        The truth, of the shape of the image without its channels: 0 is background, other numbers
        are objects, or the classes of a model with several. Without labels the heads are compared
        with the deepest one, which tells how alike they are, and not how right.
    known : bool array, optional
        Of the shape of `labels`: which of them are right; by default all.
    threshold : float
        In (0, 1].

    Returns
    -------
    Depths
        A row for each head and, if there are several, the ensemble. The figures of a part where
        there is nothing to find are NaN.

    Raises
    ------
    UserError
        If the image, the axes or an option doesn't fit the model, labels don't fit the image, or
        the image can't be read.
    """
    layout = Layout.of(image, axes, dims=model.spec.dims)
    _check_labels(labels, known, layout)
    options = options or SegmentOptions()
    region = options.region or window(layout.spatial_shape)
    indices = options.indices
    if indices is None:
        everywhere = list(layout.indices())
        indices = [everywhere[len(everywhere) // 2]]
        if labels is not None:
            told = labels if known is None else known
            labelled = [i for i in everywhere if layout.result_part(told, i).any()]
            indices = spread_pieces(labelled, region) or indices
    options = replace(options, indices=indices, region=region)
    truth = None if labels is None else truth_of(labels, layout, known)
    name = "" if labels is None else "labels"
    steps = measure(image, model, layout, options, truth=truth, name=name, threshold=threshold)
    return result_of(steps)


def truth_of(labels: NDArray[Any], layout: Layout, known: NDArray[np.bool_] | None = None) -> Truth:
    """Labels of a whole image as `measure` asks for them."""

    def read(index: Index, region: Region) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        key = layout.result_key(index, region)
        classes = layout.ordered(np.asarray(labels[key]))
        if known is None:
            return classes, np.ones(classes.shape, bool)
        return classes, layout.ordered(np.asarray(known[key], bool))

    return read


def measure(
    image: ArrayLike,
    model: Model,
    layout: Layout,
    options: SegmentOptions,
    *,
    truth: Truth | None = None,
    name: str = "",
    threshold: float = 0.5,
) -> Steps[Depths]:
    """As `how_deep`, step by step; `options` say which indices and region.

    `name` is that of the truth; an empty one says that there is none.

    Yields
    ------
    float
        How far it is, 0 to 1. Not asking on is how to cancel.
    """
    indices = list(layout.indices() if options.indices is None else options.indices)
    region = options.region or layout.whole
    deepest = f"L{model.spec.checked_depth(options.depth)}"
    counts: dict[str, PixelCounts] = defaultdict(PixelCounts)
    for number, index in enumerate(indices):
        masks = yield from scaled(
            _masks(image, model, layout, options, index, region, threshold),
            SCORED * number / len(indices),
            SCORED * (number + 1) / len(indices),
        )
        reference, known = masks[deepest], np.ones(masks[deepest].shape, bool)
        if truth is not None:
            reference, known = truth(index, region)
        for head, mask in masks.items():
            counts[head] += _count(mask[known], reference[known], len(model.spec.classes))
    device = device_for(model, options.device)
    grid = Grid.of(layout.spatial_shape, options.pixel_size, model.spec.voxel_size)
    tile = _tile(image, model, layout, options, grid, indices[0], region)
    measured = yield from scaled(
        measure_costs(model, device, tile, depth=options.depth), SCORED, 1.0
    )
    costs = by_name(model, [_for_pixels_of_image(cost, grid) for cost in measured])
    return Depths(
        model=model.spec.name,
        digest=model.digest,
        dims=model.spec.dims,
        device=device.label,
        compared=name,
        part=in_words(layout, indices, region),
        tile=tuple(tile.shape[1:]),
        rows=tuple(_row(head, counts[head], costs[head]) for head in counts),
    )


def _masks(
    image: ArrayLike,
    model: Model,
    layout: Layout,
    options: SegmentOptions,
    index: Index,
    region: Region,
    threshold: float,
) -> Steps[dict[str, NDArray[np.uint8]]]:
    """The mask of each head in the region, and that of the ensemble if there are several heads."""
    seen, events = segment_region_tiles(
        image, model, index=index, region=region, axes=layout.axes, options=options
    )
    for event in events:
        if event.is_left_out:
            raise UserError(event.notice)
        yield event.fraction
    heads = model.spec.up_to(model.spec.checked_depth(options.depth))
    values = np.stack([seen.read_head(k, index, region) for k in heads])
    masks = {f"L{k}": mask_of(v, threshold) for k, v in zip(heads, values, strict=True)}
    if len(heads) > 1:
        reached = np.full(values.shape[2:], len(heads), np.uint8)
        masks[ENSEMBLE] = mask_of(mean_of(values, reached), threshold)
    return masks


def _count(mask: NDArray[np.uint8], truth: NDArray[Any], classes: int) -> PixelCounts:
    """The counts of all classes together; one class is whatever isn't background."""
    if classes == 1:
        return PixelCounts.of(mask, truth)
    numbers = range(1, classes + 1)
    return sum((PixelCounts.of(mask == n, truth == n) for n in numbers), PixelCounts())


def _row(head: str, counts: PixelCounts, cost: Cost) -> DepthRow:
    there = counts.true > 0
    return DepthRow(
        head, counts.iou if there else math.nan, counts.dice if there else math.nan, cost
    )


def _tile(
    image: ArrayLike,
    model: Model,
    layout: Layout,
    options: SegmentOptions,
    grid: Grid,
    index: Index,
    region: Region,
) -> NDArray[np.float32]:
    """A tile of the image as the network sees it, from the middle of the region."""
    spec = model.spec
    reader = Reader(
        image,
        layout,
        options.normalisation or spec.normalisation,
        in_channels=spec.in_channels,
        grid=grid,
        channels=options.channels,
        overview=options.overview,
    )
    around = grid.of_network(region)
    inner = window([part.stop - part.start for part in around], most=prod(PIECE[spec.dims]))
    place = tuple(
        slice(outer.start + part.start, outer.start + part.stop)
        for outer, part in zip(around, inner, strict=True)
    )
    try:
        return reader.read(index, place)
    except UnreadableError as error:
        raise UserError(str(error)) from error


def _for_pixels_of_image(cost: Cost, grid: Grid) -> Cost:
    """The network may have more pixels than the image, or fewer."""
    time = cost.milliseconds_per_megapixel * prod(grid.factors)
    return replace(cost, milliseconds_per_megapixel=time)


def _check_labels(
    labels: NDArray[Any] | None, known: NDArray[np.bool_] | None, layout: Layout
) -> None:
    for what, array in (("labels have", labels), ("known pixels have", known)):
        if array is not None and array.shape != layout.result_shape:
            raise UserError(
                f"The {what} shape {array.shape}, but the image needs {layout.result_shape}."
            )
