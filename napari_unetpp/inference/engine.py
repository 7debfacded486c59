"""The run of a network over an image: pieces → tiles → network → blend."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from math import prod

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference import quantised
from napari_unetpp.inference.chunks import UnreadableError
from napari_unetpp.inference.devices import (
    choose_device,
    is_out_of_memory,
    release_memory,
    tune_allocator,
)
from napari_unetpp.inference.events import TileEvent
from napari_unetpp.inference.forward import probabilities
from napari_unetpp.inference.grid import Grid
from napari_unetpp.inference.growth import Growth
from napari_unetpp.inference.heads import Heads, Window
from napari_unetpp.inference.int8 import Int8Error
from napari_unetpp.inference.layout import (
    ArrayLike,
    Index,
    Layout,
    Region,
    common,
    inside,
    pixels_of,
)
from napari_unetpp.inference.memory import remember, tile_for
from napari_unetpp.inference.openvino_packages import OPENVINO
from napari_unetpp.inference.options import SMALLEST_TILE, SegmentOptions
from napari_unetpp.inference.passes import Pass, Planner
from napari_unetpp.inference.quantised import QuantisingError
from napari_unetpp.inference.reading import Reader
from napari_unetpp.inference.ready import Network, forget, ready
from napari_unetpp.inference.tiles import Tile, blend, least_tile
from napari_unetpp.models.file import Model
from napari_unetpp.network.cost import multiply_adds

logger = logging.getLogger(__name__)

LARGE = 1 << 21
"""Pixels of planes or volumes after which memory is given back: with small ones it takes longer."""


class Run:
    """One run over an image; it remembers what gave way when memory ran out.

    Parameters
    ----------
    image : array-like
        The image.
    model : Model
        The network.
    layout : Layout
        How the image is taken apart.
    options : SegmentOptions
        How, checked.
    depth : int
        The deepest head wanted.
    heads : Heads
        Filled.
    """

    def __init__(
        self,
        image: ArrayLike,
        model: Model,
        layout: Layout,
        options: SegmentOptions,
        depth: int,
        heads: Heads | Window,
    ) -> None:
        spec = model.spec
        self.model, self.layout, self.options = model, layout, options
        self.depth, self.heads = depth, heads
        self.grid = Grid.of(layout.spatial_shape, options.pixel_size, spec.voxel_size)
        self.reader = Reader(
            image,
            layout,
            options.normalisation or spec.normalisation,
            in_channels=spec.in_channels,
            grid=self.grid,
            channels=options.channels,
            overview=options.overview,
        )
        self.device = choose_device(options.device)
        self.tile = self._first_tile()
        self.is_free = options.tile is None  # tiles may be longer one way than the other
        self.wanted = options.region or layout.whole
        self.looking = 0.0  # of the first piece's first look: see `_work`
        self.notice = f"Little memory is free.{self._what_lacks}" if self._what_lacks else ""
        costs = {k: multiply_adds(model.network, k) for k in spec.up_to(depth)}
        self.shares = {k: cost / costs[depth] for k, cost in costs.items()}  # of a tile, by then

    def _first_tile(self) -> int:
        """What was asked for, if the head sees enough in it; else what there is room for."""
        if self.options.tile is not None:
            return max(self.options.tile, self._least)
        shown = prod(self.layout.spatial_shape) if self.options.is_shown else 0
        tile = tile_for(self.model.spec, self.depth, self.device, shown)
        return tile if self.device.kind == "cpu" else max(tile, self._least)

    @property
    def _least(self) -> int:
        """The side of a tile in which the head finds what it finds untiled."""
        spec = self.model.spec
        if spec.dims == 3:
            return SMALLEST_TILE[3]
        return least_tile(self.depth, 2**spec.depth, spec.architecture)

    @property
    def _what_lacks(self) -> str:
        """What to say of tiles in which the head sees too little."""
        shape = self.grid.shape
        longest = prod(shape) ** (1 / len(shape)) if self.is_free else max(shape)
        if self.tile >= min(self._least, longest):
            return ""
        return f" Near the sides of tiles of {self.tile} pixels L{self.depth} sees too little."

    def events(self) -> Iterator[TileEvent]:
        """Do it, step by step."""
        tune_allocator()
        self.growth = Growth(self.device)
        wanted = self.options.indices
        indices = list(self.layout.indices() if wanted is None else wanted)
        if indices and self.device.engine == OPENVINO:
            yield from self._quantised(indices)
        network = ready(self.model, self.device)
        for number, index in enumerate(indices):
            while True:
                failure = ""
                try:
                    for event in self._piece(network, index, number, len(indices)):
                        yield event
                        self.notice = ""
                    break
                except (RuntimeError, MemoryError) as error:  # torch has none of its own for a CPU
                    if not is_out_of_memory(error):
                        if not isinstance(error, Int8Error):
                            raise
                        failure = str(error)
                        quantised.remove_graph(self.model)  # it may be damaged
                # Only here, as the error holds on to the tensors of the tile that failed.
                self._leave_openvino(failure) if failure else self._give_way()
                network = ready(self.model, self.device)
        if prod(self.grid.shape) >= LARGE:
            release_memory(self.device)

    def _quantised(self, indices: Sequence[Index]) -> Iterator[TileEvent]:
        """Have the model's quantised graph made from this image, if there is none yet."""
        if quantised.is_quantised(self.model):
            return
        doing = f"Preparing int8 for {self.model.spec.name}, once …"
        stride = 2**self.model.spec.depth
        try:
            patches = quantised.patches_of(self.reader, indices, self.grid.shape, stride)
            with closing(quantised.quantise(self.model, patches)) as steps:
                for _ in steps:
                    yield TileEvent(0, indices[0], self.wanted, 0.0, self.device, preparing=doing)
        except QuantisingError as error:
            self._leave_openvino(str(error))

    def _piece(
        self, network: Network, index: Index, number: int, count: int
    ) -> Iterator[TileEvent]:
        passes = self._passes(index, is_first=number == 0)
        total = count + self.looking
        begun = number + self.looking - sum(self._work(look) for look in passes[:-1])
        for each in passes:
            work = self._work(each) / len(each.tiles)
            done: list[Tile] = []  # without those that can't be read, which have nothing to blend
            for tile in each.tiles:
                span = (begun / total, (begun + work) / total)
                yield from self._tile(network, index, tile, each, done, span)
                begun += work
                self.growth.check()

    def _passes(self, index: Index, *, is_first: bool) -> list[Pass]:
        """What is computed of a piece, in order."""
        planner = Planner(
            spec=self.model.spec,
            grid=self.grid,
            tile=self.tile,
            is_free=self.is_free,
            focus=self.options.focus,
        )
        whole = planner.whole(self.wanted, self.depth)
        if not is_first:
            return [whole]
        share = self.shares[self.model.spec.heads[0]]
        look = planner.first_look(self.wanted, self.options.first_look, whole, share)
        if look is None or self._is_seen(index):
            return [whole]
        self.looking = self._work(look)
        return [look, whole]

    def _is_seen(self, index: Index) -> bool:
        """Whether an earlier run has left a head wherever the user looks."""
        if self.options.first_look is None or isinstance(self.heads, Window):
            return True
        return bool(self.heads.read_reached(index, self.options.first_look).all())

    def _work(self, each: Pass) -> float:
        """How much a pass computes; 1 is a piece to the deepest head."""
        return self.shares[each.depth] * pixels_of(each.wanted) / pixels_of(self.wanted)

    def _tile(
        self,
        network: Network,
        index: Index,
        tile: Tile,
        each: Pass,
        done: list[Tile],
        span: tuple[float, float],
    ) -> Iterator[TileEvent]:
        """One tile, in a frame of its own: nothing of it stays in memory when it is done."""
        start, stop = span
        target = self.grid.filled(tile.region)
        region = common(target, each.wanted)
        part = inside(region, target)
        try:
            pixels = self.reader.read(index, tile.region)
        except UnreadableError as error:
            if each.depth == self.depth:  # not at the first look, too
                self._leave_out(error, index, region)
                yield TileEvent(0, index, region, stop, self.device, self.notice)
            return
        share = self.grid.to_image(tile.share(done), tile.region, target)[part]
        heads = self.model.spec.up_to(each.depth)
        computed = probabilities(network, pixels, each.depth, self.device)
        for k, values in zip(heads, computed, strict=True):
            found = self.grid.to_image(values, tile.region, target)[(slice(None), *part)]
            self._blend_in(k, index, region, found, share)
            fraction = start + self.shares[k] / self.shares[each.depth] * (stop - start)
            yield TileEvent(k, index, region, fraction, self.device, self.notice)
        done.append(tile)

    def _blend_in(
        self,
        head: int,
        index: Index,
        region: Region,
        found: NDArray[np.float32],
        share: NDArray[np.float32],
    ) -> None:
        values = blend(self.heads.read_head(head, index, region), found, share)
        self.heads.write(head, index, region, values)

    def _leave_out(self, error: UnreadableError, index: Index, region: Region) -> None:
        """Name the place that can't be read; the rest goes on."""
        at = self.layout.in_words(index, region)
        self.notice = f"{str(error).rstrip('.')}: {at} is left out."
        logger.warning(self.notice)

    def _leave_openvino(self, why: str) -> None:
        """Go on with torch."""
        forget()
        self.device = choose_device("cpu")
        self.tile = self._first_tile()
        going_on = f"it goes on in torch.{self._what_lacks}"
        self.notice = f"OpenVINO can't be used ({why.rstrip('.')}): {going_on}"
        logger.warning(self.notice)

    def _give_way(self) -> None:
        """Half the tile; on a GPU, where the head would see too little in that, the CPU."""
        forget()
        release_memory(self.device)
        spec, self.is_free = self.model.spec, False
        largest = min(self.tile, max(self.grid.shape))
        smallest = SMALLEST_TILE[spec.dims] if self.device.kind == "cpu" else self._least
        if largest > smallest:
            self.tile = max(largest // 2, smallest)
            remember(spec, self.depth, self.device, self.tile)
            smaller = f"tiles of {self.tile} pixels now.{self._what_lacks}"
            self.notice = f"Memory ran out on {self.device.label}: {smaller}"
        elif self.device.kind != "cpu":
            before, self.device = self.device, choose_device("cpu")
            self.tile = self._first_tile()
            going_on = f"it goes on on the CPU.{self._what_lacks}"
            self.notice = f"Memory ran out on {before.label}: {going_on}"
        else:
            raise UserError(
                "Memory ran out on the CPU even with small tiles: close other programs or choose a "
                "smaller depth."
            )
        logger.warning(self.notice)
