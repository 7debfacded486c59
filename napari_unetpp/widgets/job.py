"""From what the panel asks for to what is run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari.components import Dims, ViewerModel
from napari.layers import Image

import napari_unetpp
from napari_unetpp.inference.heads import Heads
from napari_unetpp.inference.layout import ArrayLike, Layout
from napari_unetpp.inference.openvino_packages import OPENVINO, require_openvino
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.models import Store
from napari_unetpp.models.header import read_digest
from napari_unetpp.widgets.geometry import (
    channel_on_screen,
    index_on_screen,
    region_on_screen,
    size_in_words,
)
from napari_unetpp.widgets.lengths import pixel_size_of
from napari_unetpp.widgets.sources import Sources


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for.

    Attributes
    ----------
    image : Image
        The layer that results lie on.
    sources : Sources
        What the model sees: this layer, or several.
    layout : Layout
        Of what it sees, checked.
    model : str
        Name in the store.
    depth : int
        The deepest head wanted.
    where : {"view", "plane", "stack"}
        Which part of the image.
    full_size : bool
        Whether a view of a multiscale image is segmented at full size, rather than at the size in
        which it is shown.
    channels : tuple of int, optional
        For each channel of the model which of the image it sees; by default what is on screen for
        a model of one channel, and else all in their order.
    device, tile, background
        As in `SegmentOptions` and `Normalisation`.
    """

    image: Image
    sources: Sources
    layout: Layout
    model: str
    depth: int
    where: str
    device: str
    tile: int | None
    background: str
    full_size: bool = False
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run.

    Attributes
    ----------
    pixels : array-like
        The image, or a level of it.
    sources : Sources
        The layers that these are of.
    level : int
        Which one, 0 at full size.
    axes : str
        Checked.
    model : Path
        The model's file.
    options : SegmentOptions
        How.
    name : str
        Of the image.
    size : str
        In which size a multiscale image is segmented, like " · at 1/4 size"; else empty.
    provenance : dict
        For the metadata of the results: enough to run it again.
    into : Heads, optional
        Heads of an earlier run with the same provenance, to be filled further.
    """

    pixels: ArrayLike
    sources: Sources
    level: int
    axes: str
    model: Path
    options: SegmentOptions
    name: str
    size: str
    provenance: dict[str, Any]
    into: Heads | None = None


def make_job(
    request: Request,
    store: Store,
    viewer: ViewerModel,
    canvas: tuple[int, int] | None = None,
) -> Job:
    """Resolve a request by what is on screen, on a canvas of some height and width.

    Raises
    ------
    UserError
        If there is no such model, its file is damaged, or the device needs missing packages.
    """
    if request.device == OPENVINO:
        require_openvino()
    image, sources, spec = request.image, request.sources, store.spec(request.model)
    level = level_of(request)
    pixels = sources.pixels(level)
    layout = Layout.of(pixels, request.layout.axes, dims=spec.dims)
    normalisation = spec.normalisation
    if request.background != "auto":  # else as the model was trained
        normalisation = normalisation.model_copy(update={"background": request.background})
    path = store.path(request.model)
    here = index_on_screen(image, viewer.dims, layout, level)
    region = region_on_screen(image, viewer, layout, level, canvas)
    indices = [here]
    if request.where == "stack":  # outwards from here: scrolling finds finished work
        indices = sorted(layout.indices(), key=lambda index: math.dist(index, here))
    options = SegmentOptions(
        is_shown=True,
        depth=request.depth,
        device=request.device,
        tile=request.tile,
        channels=channels_of(request, store, viewer.dims),
        normalisation=normalisation,
        indices=indices,
        pixel_size=pixel_size_of(image, layout, level, spec.voxel_size),
        region=region if request.where == "view" else None,
        first_look=region,
        focus=tuple((part.start + part.stop) / 2 for part in region),
        overview=sources.overview(level, layout.axes),
    )
    provenance = {
        "image": image.name,
        "layers": sources.names,
        "weights": sources.weights,
        "axes": layout.axes,
        "level": level,
        "model": request.model,
        "sha256": read_digest(path),
        "channels": options.channels,
        "normalisation": normalisation.model_dump(),
        "pixel_size": options.pixel_size,
        "tile": request.tile,
        "engine": OPENVINO if request.device == OPENVINO else "torch",
        "version": napari_unetpp.__version__,
    }
    return Job(
        pixels=pixels,
        sources=sources,
        level=level,
        axes=layout.axes,
        model=path,
        options=options,
        name=image.name,
        size=f" · at {size_in_words(image, level)}" if image.multiscale else "",
        provenance=provenance,
    )


def level_of(request: Request) -> int:
    """Which level of the image is segmented: a view at the size in which it is shown."""
    if request.where == "view" and request.image.multiscale and not request.full_size:
        return int(request.image.data_level)
    return 0


def channels_of(request: Request, store: Store, dims: Dims) -> tuple[int, ...] | None:
    """Which channels of the image the model sees; None for all, or for grey from colour.

    Raises
    ------
    UserError
        If there is no such model.
    """
    if request.channels is not None or store.spec(request.model).in_channels > 1:
        return request.channels
    channel = channel_on_screen(request.image, dims, request.layout)
    return None if channel is None else (channel,)


def channels_in(provenance: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The channels that results were made of."""
    channels = provenance["channels"]
    return None if channels is None else tuple(channels)
