"""From what the panel asks for to what is run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari.components import Dims
from napari.layers import Image

import napari_unetpp
from napari_unetpp.inference.heads import Heads
from napari_unetpp.inference.layout import ArrayLike, Layout
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.models import Store
from napari_unetpp.models.header import read_digest
from napari_unetpp.widgets.geometry import (
    channel_on_screen,
    image_data,
    index_on_screen,
    region_on_screen,
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for.

    Attributes
    ----------
    image : Image
        The layer.
    layout : Layout
        Its axes, checked.
    model : str
        Name in the store.
    depth : int
        The deepest head wanted.
    where : {"view", "plane", "stack"}
        Which part of the image.
    channels : tuple of int, optional
        For each channel of the model which of the image it sees; by default what is on screen for
        a model of one channel, and else all in their order.
    device, tile, background
        As in `SegmentOptions` and `Normalisation`.
    """

    image: Image
    layout: Layout
    model: str
    depth: int
    where: str
    device: str
    tile: int | None
    background: str
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run.

    Attributes
    ----------
    pixels : array-like
        The image.
    axes : str
        Checked.
    model : Path
        The model's file.
    options : SegmentOptions
        How.
    name : str
        Of the image.
    provenance : dict
        For the metadata of the results: enough to run it again.
    into : Heads, optional
        Heads of an earlier run with the same provenance, to be filled further.
    """

    pixels: ArrayLike
    axes: str
    model: Path
    options: SegmentOptions
    name: str
    provenance: dict[str, Any]
    into: Heads | None = None


def make_job(request: Request, store: Store, dims: Dims) -> Job:
    """Resolve a request by what is on screen.

    Raises
    ------
    UserError
        If there is no such model, or its file is damaged.
    """
    image, layout = request.image, request.layout
    normalisation = store.spec(request.model).normalisation
    if request.background != "auto":  # else as the model was trained
        normalisation = normalisation.model_copy(update={"background": request.background})
    path = store.path(request.model)
    here = index_on_screen(image, dims, layout)
    rows, columns = region_on_screen(image, dims, layout)
    indices = [here]
    if request.where == "stack":  # outwards from here: scrolling finds finished work
        indices = sorted(layout.indices(), key=lambda index: math.dist(index, here))
    options = SegmentOptions(
        depth=request.depth,
        device=request.device,
        tile=request.tile,
        channels=channels_of(request, store, dims),
        normalisation=normalisation,
        indices=indices,
        region=(rows, columns) if request.where == "view" else None,
        focus=((rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2),
    )
    provenance = {
        "image": image.name,
        "axes": layout.axes,
        "model": request.model,
        "sha256": read_digest(path),
        "channels": options.channels,
        "normalisation": normalisation.model_dump(),
        "tile": request.tile,
        "version": napari_unetpp.__version__,
    }
    return Job(
        pixels=image_data(image),
        axes=layout.axes,
        model=path,
        options=options,
        name=image.name,
        provenance=provenance,
    )


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
