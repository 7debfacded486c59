"""How large a tile may be: a model of the memory that a network takes, and what was learnt of it.

While a head is computed, all nodes that deeper nodes read again lie in memory, and the node being
computed has its concatenated input and two convolutions' outputs besides. The sum of their
channels, at the resolution of their row, is what a pixel of the tile costs; measured peaks are
`OVERHEAD` times that (`python -m benchmarks memory`).
"""

from __future__ import annotations

import psutil
import torch

from napari_unetpp.inference import remembered
from napari_unetpp.inference.devices import Device
from napari_unetpp.inference.options import SMALLEST_TILE
from napari_unetpp.models.spec import ModelSpec
from napari_unetpp.network.architecture import Place, schedule
from napari_unetpp.network.strips import STRIP

OVERHEAD = 1.3
"""Measured peak over the sum of the tensors: libraries reorder some of them."""
OUTPUTS = 2
"""Of a node's two convolutions, in memory at once."""
BESIDE = {"residual": 1, "sub-pixel": 1, "unpooling": 3}
"""Tensors as wide as the node that some blocks and ways up need besides: the shortcut; what is not
yet shuffled; empty space to put values into, and the numbers of the places."""
COPIES = {"dense": 2}
"""How often some blocks hold their input besides: with new channels behind it, and reordered."""
MOST_ON_CPU = {2: 1.21e9, 3: 2.2e9}
"""Bytes that a tile may take on a CPU: of planes as large as 976² for L4 in fp32, 1408² in bf16.
Of volumes more, as tiles of 96³ would compute most voxels several times."""
SHOWN, MOST_SHOWN = 7, 8192**2
"""Bytes that a pixel of a plane takes besides, up to how many pixels: napari holds each of the two
masks that are shown twice, and more while it draws; larger planes it shows by levels."""
MOST_ON_GPU = 8 << 30
SHARE_OF_FREE = 0.5
"""Of the memory that is free: other programs want some, too."""
LARGEST_TILE = {2: 2048, 3: 192}
"""Where memory abounds: the first results should come soon all the same."""


def channels_at_peak(spec: ModelSpec, depth: int, side: int) -> float:
    """Values that are in memory at once for each pixel of a tile of a side, run to head `depth`."""
    kinds, widths = spec.architecture, spec.widths
    held: dict[Place, float] = {}
    peak = 0.0
    for step in schedule(kinds, depth):
        i, j = step.place
        pixel = float(kinds.shrink(i) ** spec.dims)
        strip = min(1.0, STRIP * kinds.shrink(i) / side) if j else 1.0  # see `network.strips`
        inputs = (len(step.skips) + 2) * widths[i] if j else (widths[i - 1] if i else 1)
        working = inputs * (1 + COPIES.get(kinds.block_in(j), 0)) + OUTPUTS * widths[i]
        working += BESIDE.get(kinds.block_in(j), 0) * widths[i]
        if j:
            working += BESIDE.get(kinds.up, 0) * widths[i]
        whole = widths[i] if j else 0  # what the strips are put together to
        # What others read again below counts twice: `OVERHEAD` was measured with that.
        twice = 0.0 if step.source is None or step.source in step.last else held[step.source]
        peak = max(peak, sum(held.values()) + twice * (j > 0) + (whole + strip * working) / pixel)
        held[step.place] = widths[i] / pixel
        for place in step.last:
            del held[place]
    return peak


def bytes_of_tile(spec: ModelSpec, depth: int, device: Device, side: int) -> float:
    """What the network takes for a square or cubic tile, as far as the model of memory goes."""
    peak = channels_at_peak(spec, depth, side)
    return OVERHEAD * float(side) ** spec.dims * peak * device.dtype.itemsize


def tile_for(spec: ModelSpec, depth: int, device: Device, shown: int = 0) -> int:
    """The side of the largest tile that there is room for, a multiple of the network's stride.

    `shown` is how many pixels a plane has that a viewer shows besides.
    """
    stride, smallest = 2**spec.depth, SMALLEST_TILE[spec.dims]
    room, side = _room(device, spec.dims), LARGEST_TILE[spec.dims]
    if device.kind == "cpu" and spec.dims == 2 and shown <= MOST_SHOWN:
        room = min(room, MOST_ON_CPU[2] - SHOWN * shown)
    room = min(room, remembered.room_left(_name(device, spec), *_free_and_total(device)))
    while side - stride >= smallest and bytes_of_tile(spec, depth, device, side) > room:
        side -= stride
    return side


def remember(spec: ModelSpec, depth: int, device: Device, tile: int) -> None:
    """Let tiles take no more memory than this one from now on: it ran out with a larger one."""
    room = bytes_of_tile(spec, depth, device, tile)
    remembered.remember(_name(device, spec), room, *_free_and_total(device))


def _name(device: Device, spec: ModelSpec) -> str:
    return f"{device.label}, {spec.dims}D"


def _room(device: Device, dims: int) -> float:
    most = MOST_ON_GPU if device.kind == "cuda" else MOST_ON_CPU[dims]
    return min(SHARE_OF_FREE * _free_and_total(device)[0], most)


def _free_and_total(device: Device) -> tuple[float, float]:
    """Bytes of a device's memory; what torch holds in reserve is free."""
    if device.kind == "cuda":
        free, total = torch.cuda.mem_get_info()
        held = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return float(free + held), float(total)
    memory = psutil.virtual_memory()
    return float(memory.available), float(memory.total)
