"""Segment an image: normalise → tiles → network → blend → heads.

`segment_tiles` is the one path from an image to its heads; the viewer, the command line and
`segment` all go through it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.axes import ArrayLike, Index, Planes
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.inference.devices import (
    Device,
    choose_device,
    is_out_of_memory,
    memory_format,
    prepared,
    release_memory,
    tune_allocator,
)
from napari_unetpp.inference.heads import Heads
from napari_unetpp.inference.normalise import find_limits, normalise
from napari_unetpp.inference.options import SMALLEST_TILE, SegmentOptions
from napari_unetpp.inference.tiles import (
    Region,
    Tile,
    blend,
    grown,
    nearest_first,
    overlap_for,
    plan_tiles,
)
from napari_unetpp.models.file import Model
from napari_unetpp.network import UNetPlusPlus
from napari_unetpp.network.cost import multiply_adds

logger = logging.getLogger(__name__)

_PREPARED: dict[tuple[str, str, torch.dtype], UNetPlusPlus] = {}


@dataclass(frozen=True)
class TileEvent:
    """A head of one tile is in `Heads`, blended with its neighbours so far.

    Attributes
    ----------
    head : int
        Its number, from 1.
    index : Index
        Of the plane.
    region : (slice, slice)
        Rows and columns of the plane.
    fraction : float
        How much of all the work is done, 0 to 1.
    device : Device
        Where it was computed.
    notice : str
        A sentence for the user if something had to give way, like the tile size; else empty.
    """

    head: int
    index: Index
    region: Region
    fraction: float
    device: Device
    notice: str = ""


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
        Any real dtype; read plane by plane.
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
    With tiles of 512 pixels or more the result does not depend on them but for a difference of at
    most 0.02 in probability (0.004 measured, see `benchmarks/`). Smaller tiles, as when memory
    runs out, overlap by less than L4 can see.
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
    planes = Planes.of(image, axes)
    spec = model.spec
    depth = spec.depth if options.depth is None else options.depth
    if not 1 <= depth <= spec.depth:
        raise UserError(
            f"The depth is {depth}, but {spec.name} has the heads L1 to L{spec.depth}: choose one "
            "of them."
        )
    if options.tile < SMALLEST_TILE:
        raise UserError(f"The tile is {options.tile} pixels; give {SMALLEST_TILE} or more.")
    if spec.dims != 2:
        raise UserError(
            f"{spec.name} is for volumes, which can't be segmented yet: use a 2D model."
        )
    channels_for(planes, spec.in_channels, options.channel)  # refuses what doesn't fit
    if np.issubdtype(image.dtype, np.complexfloating):
        raise UserError(
            "The image is complex; only real images can be segmented: take its magnitude or phase."
        )
    _check_region(options.region, planes.plane_shape)
    dtype = np.float32 if options.floats else np.uint8
    heads = into or Heads.empty(planes, depth=depth, classes=len(spec.classes), dtype=dtype)
    if heads.planes != planes or heads.depth < depth or heads.values.shape[1] != len(spec.classes):
        raise ValueError("`into` holds the heads of another image or model.")
    return heads, _Run(image, model, planes, options, depth, heads).events()


class _Run:
    """One run over an image; it remembers what gave way when memory ran out."""

    def __init__(
        self,
        image: ArrayLike,
        model: Model,
        planes: Planes,
        options: SegmentOptions,
        depth: int,
        heads: Heads,
    ) -> None:
        self.image, self.model, self.planes = image, model, planes
        self.options, self.depth, self.heads = options, depth, heads
        self.device = choose_device(options.device)
        self.tile = options.tile
        self.notice = ""
        costs = [multiply_adds(model.network, k) for k in range(1, depth + 1)]
        self.shares = [cost / costs[-1] for cost in costs]  # of a tile, when head k is there

    def events(self) -> Iterator[TileEvent]:
        tune_allocator()
        indices = list(
            self.planes.indices() if self.options.indices is None else self.options.indices
        )
        network = self._prepared()
        for number, index in enumerate(indices):
            plane = self._normalised(index)
            while True:
                try:
                    for event in self._plane(network, plane, index, number, len(indices)):
                        yield event
                        self.notice = ""
                    break
                except RuntimeError as error:  # torch has no narrower class for all devices
                    if not is_out_of_memory(error):
                        raise
                # Only here, as the error holds on to the tensors of the tile that failed.
                self._give_way()
                network = self._prepared()

    def _plane(
        self,
        network: UNetPlusPlus,
        plane: NDArray[np.float32],
        index: Index,
        number: int,
        count: int,
    ) -> Iterator[TileEvent]:
        shape = self.planes.plane_shape
        overlap, stride = overlap_for(self.depth), 2**self.model.spec.depth
        wanted = self.options.region or (slice(0, shape[0]), slice(0, shape[1]))
        tiles = plan_tiles(
            grown(wanted, overlap // 2 + stride, shape),  # its border sees what lies around it
            tile=self.tile,
            overlap=overlap,
            stride=stride,
        )
        into = self.heads.plane(index)  # (head, class, y, x)
        reached = self.planes.result_plane(self.heads.reached, index)
        weights = np.zeros(shape, np.float32) if len(tiles) > 1 else None
        for done, tile in enumerate(nearest_first(tiles, self.options.focus)):
            region, inside = tile.part_in(wanted)
            share = _share(tile, weights)[inside]
            pixels = plane[(slice(None), *tile.region)]
            for k, values in enumerate(self._probabilities(network, pixels), start=1):
                blend(into[k - 1][(slice(None), *region)], values[(slice(None), *inside)], share)
                np.maximum(reached[region], k, out=reached[region])
                part = (done + self.shares[k - 1]) / len(tiles)
                yield TileEvent(k, index, region, (number + part) / count, self.device, self.notice)

    def _probabilities(
        self, network: UNetPlusPlus, tile: NDArray[np.float32]
    ) -> Iterator[NDArray[np.float32]]:
        """Probabilities ``(class, y, x)`` of each head of one tile ``(c, y, x)``."""
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(tile))[None]
            batch = batch.to(self.device.kind, self.device.dtype)
            heads = network.heads(batch.to(memory_format=memory_format(2)), self.depth)
        while True:
            with torch.inference_mode():  # it must not stay on while the caller has control
                logits = next(heads, None)
                if logits is None:
                    return
                probabilities = logits[0].float().sigmoid().cpu().numpy()
            yield probabilities

    def _normalised(self, index: Index) -> NDArray[np.float32]:
        """One plane ``(c, y, x)`` as the network sees it."""
        plane = self.planes.take(self.image, index)
        mix = channels_for(self.planes, self.model.spec.in_channels, self.options.channel)
        how = self.options.normalisation or self.model.spec.normalisation
        channels = mix(plane)
        return np.stack([normalise(channel, find_limits(channel, how)) for channel in channels])

    def _prepared(self) -> UNetPlusPlus:
        """The network made fast; that of the last run is kept, for the next plane or file."""
        key = (self.model.digest, self.device.kind, self.device.dtype)
        network = _PREPARED.get(key)  # looked up once: another viewer's run may clear it
        if network is None:
            network = prepared(self.model.network, self.device)
            _PREPARED.clear()
            _PREPARED[key] = network
        return network

    def _give_way(self) -> None:
        """Half the tile; on a GPU, when tiles are small already, the CPU."""
        _PREPARED.clear()
        release_memory(self.device)
        largest = min(self.tile, max(self.planes.plane_shape))
        if largest // 2 >= SMALLEST_TILE:
            self.tile = largest // 2
            self.notice = f"Memory ran out on {self.device.label}: tiles of {self.tile} pixels now."
        elif self.device.kind != "cpu":
            self.notice = f"Memory ran out on {self.device.label}: it goes on on the CPU."
            self.device, self.tile = choose_device("cpu"), self.options.tile
        else:
            raise UserError(
                "Memory ran out on the CPU even with small tiles: close other programs or choose a "
                "smaller depth."
            )
        logger.warning(self.notice)


def _check_region(region: Region | None, shape: tuple[int, int]) -> None:
    """Refuse rows and columns that are none, or not all in the plane."""
    for part, length in zip(region or (), shape, strict=region is not None):
        if not 0 <= part.start < part.stop <= length:
            raise UserError(
                f"The region goes from {part.start} to {part.stop}, but the plane has {length} "
                "pixels there: choose a part of it."
            )


def _share(tile: Tile, weights: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """The tile's weight over all weights so far; adds it to `weights`."""
    weight = tile.weight()
    if weights is None:
        return weight
    weights[tile.region] += weight
    return weight / weights[tile.region]
