"""What each depth costs: parameters, memory, and time on a device."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from napari_unetpp.evaluation.scores import Cost
from napari_unetpp.evaluation.steps import Steps, result_of
from napari_unetpp.inference.devices import (
    Device,
    alone_on,
    choose_device,
    memory_format,
    prepared,
    tune_allocator,
)
from napari_unetpp.inference.int8 import Int8Network
from napari_unetpp.inference.memory import bytes_of_tile
from napari_unetpp.inference.openvino_packages import OPENVINO
from napari_unetpp.inference.quantised import graph_file, is_quantised
from napari_unetpp.models.file import Model
from napari_unetpp.network import UNetPlusPlus

PIECE = {2: (512, 512), 3: (64, 64, 64)}
"""A plane, and a volume of as many voxels."""
MOST_RUNS = 5
SECONDS = 4.0
"""After so many no further run begins: on a slow computer there is just one, and that counts."""
ENSEMBLE = "ensemble"


def device_for(model: Model, wanted: str) -> Device:
    """Where an image was just segmented: torch's CPU, if it had to do without OpenVINO.

    Raises
    ------
    UserError
        As `choose_device`.
    """
    device = choose_device(wanted)
    without = device.engine == OPENVINO and not is_quantised(model)
    return choose_device("cpu") if without else device


def costs_of(
    model: Model, device: Device, *, depth: int | None = None, piece: tuple[int, ...] | None = None
) -> list[Cost]:
    """The cost of each head up to `depth`, the shallowest first, on noise; see `measure_costs`.

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
    shape = (model.spec.in_channels, *(piece or PIECE[model.spec.dims]))
    noise = np.random.default_rng(0).random(shape, np.float32)
    return result_of(measure_costs(model, device, noise, depth=depth))


def measure_costs(
    model: Model, device: Device, tile: NDArray[np.float32], *, depth: int | None = None
) -> Steps[list[Cost]]:
    """Measure the cost of each head up to `depth` on one tile ``(c, *spatial)``, step by step.

    The time is what passes until the network alone gives that head: the median of up to
    `MOST_RUNS` runs after one that isn't counted; no run begins after `SECONDS`. As heads
    come as early as their pruned networks would give them (but for the last layers of the heads
    before), it is the time of running just that deep. Reading, normalising, tiling and blending
    come on top, and so does what neighbouring tiles share.

    OpenVINO gives the heads after the first together: for it a run is timed to each depth.

    The memory is counted, not measured, see `inference.memory`: what a tile of this size takes.

    Yields
    ------
    float
        How far it is, 0 to 1. Not asking on is how to cancel.

    Returns
    -------
    list of Cost
        Of the heads that the model has, the shallowest first.
    """
    heads = model.spec.up_to(model.spec.checked_depth(depth))
    if device.engine == OPENVINO:
        graph = Int8Network(graph_file(model), model.spec)
        seconds = yield from _timed_apart(graph, heads, tile)
    else:
        seconds = yield from _timed(prepared(model.network, device), device, heads, tile)
    sides = tile.shape[1:]
    side = round(prod(sides) ** (1 / len(sides)))
    return [
        Cost(
            parameters=parameter_count(model.network.pruned(k)),
            milliseconds_per_megapixel=1e3 * duration / (prod(sides) / 1e6),
            memory=round(bytes_of_tile(model.spec, k, device, side)),
        )
        for k, duration in zip(heads, seconds, strict=True)
    ]


def by_name(model: Model, costs: list[Cost]) -> dict[str, Cost]:
    """The costs of heads by their names, and that of the ensemble if the model has several heads.

    The ensemble costs as much as the deepest, with the last layers of the other heads added.
    """
    heads = model.spec.heads[: len(costs)]
    named = {f"L{k}": cost for k, cost in zip(heads, costs, strict=True)}
    if len(model.spec.heads) == 1:
        return named
    layers = (model.network.classifiers[f"L{k}"] for k in heads[:-1])
    deepest = costs[-1]
    ensemble = Cost(
        parameters=deepest.parameters + sum(p.numel() for x in layers for p in x.parameters()),
        milliseconds_per_megapixel=deepest.milliseconds_per_megapixel,
        memory=deepest.memory,
    )
    return {**named, ENSEMBLE: ensemble}


def parameter_count(network: UNetPlusPlus) -> int:
    """The number of trained parameters, all heads of the network included."""
    return sum(parameter.numel() for parameter in network.parameters())


def _timed(
    network: UNetPlusPlus, device: Device, heads: Sequence[int], tile: NDArray[np.float32]
) -> Steps[list[float]]:
    """Seconds from the input to each head; yields how far it is."""
    tune_allocator()
    batch = torch.from_numpy(np.ascontiguousarray(tile))[None].to(device.kind, device.dtype)
    batch = batch.to(memory_format=memory_format(network.dims, device.kind))
    runs: list[Mapping[int, float]] = []
    started = time.perf_counter()
    for number in range(MOST_RUNS + 1):
        if number > 0 and time.perf_counter() - started > SECONDS:
            break
        times: dict[int, float] = {}
        for k, passed in zip(heads, _one_run(network, batch, heads[-1]), strict=True):
            times[k] = passed
            yield (number + len(times) / len(heads)) / (MOST_RUNS + 1)
        runs.append(times)
    counted = runs[1:] or runs  # the first one warms up, which is little where it takes long
    return [median(times[k] for times in counted) for k in heads]


def _timed_apart(
    network: Int8Network, heads: Sequence[int], tile: NDArray[np.float32]
) -> Steps[list[float]]:
    """Seconds of a run to each head; yields how far it is."""
    batch, found = torch.from_numpy(np.ascontiguousarray(tile))[None], []
    for place, k in enumerate(heads):
        seconds: list[float] = []
        while len(seconds) <= MOST_RUNS and sum(seconds[1:]) < SECONDS / len(heads):
            started = time.perf_counter()
            for _ in network.heads(batch, k):
                pass
            seconds.append(time.perf_counter() - started)
            yield (place + len(seconds) / (MOST_RUNS + 1)) / len(heads)
        found.append(median(seconds[1:]))
    return found


def _one_run(network: UNetPlusPlus, batch: torch.Tensor, depth: int) -> Iterator[float]:
    """Seconds until each head; what passes while the caller has control isn't counted."""
    with torch.inference_mode():
        heads = network.heads(batch, depth)
    passed = 0.0
    while True:
        started = time.perf_counter()
        # Neither must stay on while the caller has control.
        with alone_on(batch.device.type), torch.inference_mode():
            logits = next(heads, None)
            if logits is None:
                return
            logits.cpu()  # waits for a GPU
        passed += time.perf_counter() - started
        yield passed
