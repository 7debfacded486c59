"""What each depth costs: parameters, and time on a device."""

from __future__ import annotations

import time
from math import prod

import torch

from napari_unetpp.evaluation.scores import Cost
from napari_unetpp.inference.devices import Device, memory_format, prepared, tune_allocator
from napari_unetpp.models.file import Model
from napari_unetpp.network import UNetPlusPlus

PIECE = {2: (512, 512), 3: (64, 64, 64)}
"""A plane, and a volume of as many voxels."""
REPEATS = 3


def costs_of(
    model: Model, device: Device, *, depth: int | None = None, piece: tuple[int, ...] | None = None
) -> list[Cost]:
    """The cost of each head up to `depth`, the shallowest first.

    The time is what passes until the network alone gives that head, on one plane or volume of
    noise: the shortest of three runs after one that isn't counted. As heads come as early as their
    pruned networks would give them (but for the last layers of the heads before), it is the time
    of running just that deep. Reading, normalising, tiling and blending come on top, and so does
    what neighbouring tiles share.

    Parameters
    ----------
    model : Model
        For planes or volumes.
    device : Device
        Where.
    depth : int, optional
        The deepest head; by default the model's.
    piece : tuple of int, optional
        Sides of the plane or volume; see `PIECE`. Small ones cost more per pixel.
    """
    depth, piece = model.spec.checked_depth(depth), piece or PIECE[model.spec.dims]
    heads = model.spec.up_to(depth)
    parameters = [parameter_count(model.network.pruned(k)) for k in heads]
    seconds = _seconds(prepared(model.network, device), device, depth, piece)
    megapixels = prod(piece) / 1e6
    return [Cost(n, 1e3 * s / megapixels) for n, s in zip(parameters, seconds, strict=True)]


def parameter_count(network: UNetPlusPlus) -> int:
    """The number of trained parameters, all heads of the network included."""
    return sum(parameter.numel() for parameter in network.parameters())


def _seconds(
    network: UNetPlusPlus, device: Device, depth: int, piece: tuple[int, ...]
) -> list[float]:
    """Time from the input to each head."""
    tune_allocator()
    batch = torch.rand(1, network.in_channels, *piece).to(device.kind, device.dtype)
    batch = batch.to(memory_format=memory_format(network.dims))
    runs = []
    for _ in range(REPEATS + 1):
        started, times = time.perf_counter(), []
        with torch.inference_mode():
            for logits in network.heads(batch, depth):
                logits.cpu()  # waits for a GPU
                times.append(time.perf_counter() - started)
        runs.append(times)
    return [min(times) for times in zip(*runs[1:], strict=True)]  # the first one warms up
