"""How fast each head of a network is on a device, and what pruning gains; weights don't matter."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from benchmarks.sheet import Sheet
from napari_unetpp.models.spec import ModelSpec

K = TypeVar("K")
Times = dict[str, dict[str, float]]

ROUNDS = 5
PLANE, VOLUME = (512, 512), (64, 64, 64)
BATCH = {"cpu": 1, "mps": 1, "cuda": 16}
"""Planes or volumes at once: a single one doesn't fill a large GPU."""
PLANES = ModelSpec(name="planes")
VOLUMES = ModelSpec(name="volumes", dims=3, widths=(16, 32, 64, 128, 256), norm=None)


def counted(spec: ModelSpec) -> dict[str, tuple[int, float]]:
    """Of each head the parameters, and two operations for each multiply-add of a pixel."""
    import torch

    from napari_unetpp.evaluation.depths import parameter_count
    from napari_unetpp.models.file import build_network
    from napari_unetpp.network.cost import multiply_adds

    with torch.device("meta"):
        network = build_network(spec)
        return {
            f"L{k}": (parameter_count(network.pruned(k)), 2 * multiply_adds(network, k))
            for k in spec.heads
        }


def times(specs: Mapping[str, ModelSpec], device_name: str) -> tuple[Times, str]:
    """Milliseconds for a megapixel to each head of each network, pruned to it; by turns.

    All heads of a network come in one pass at hardly more, see `benchmarks heads`, so that the
    ensemble costs what the deepest head does.

    Returns
    -------
    dict
        By network and head.
    str
        Where, in words.
    """
    from napari_unetpp.inference.devices import choose_device

    tasks = {
        (name, f"L{k}"): _task(spec, k, device_name)
        for name, spec in specs.items()
        for k in spec.heads
    }
    found: Times = {name: {} for name in specs}
    for (name, head), each in _by_turns(tasks).items():
        found[name][head] = 1e3 * each / (PLANE[0] * PLANE[1] / 1e6)
    for name, spec in specs.items():
        if len(spec.heads) > 1:
            found[name]["ensemble"] = found[name][f"L{spec.heads[-1]}"]
    device = choose_device(device_name)
    return found, f"{device.label}, {BATCH[device.kind]} of {PLANE[0]} × {PLANE[1]} at once"


def pruning(device_name: str) -> list[Sheet]:
    """Planes and volumes for each second to each head, and how many more than to the deepest."""
    from napari_unetpp.inference.devices import choose_device

    device = choose_device(device_name)
    found = []
    for what, one, shape in (("planes", PLANES, PLANE), ("volumes", VOLUMES, VOLUME)):
        tasks = {f"L{k}": _task(one, k, device_name) for k in one.heads}
        seconds = _by_turns(tasks)
        last = 1 / seconds[f"L{one.heads[-1]}"]
        rows = [
            (head, f"{1 / each:.2f}", f"{1 / each - last:+.2f}", f"{1 / each / last:.2f}")
            for head, each in seconds.items()
        ]
        sides = " × ".join(map(str, shape))
        columns = ("head", f"{what} a second", "more than L4", "times as many")
        note = f"{sides}, widths {one.widths[0]} … {one.widths[-1]}, {BATCH[device.kind]} at once."
        found.append(Sheet(f"paper: pruning, {what}, {device.label}", columns, rows, note))
    return found


def _task(spec: ModelSpec, k: int, device_name: str) -> Callable[[], float]:
    """Something that gives the seconds for one plane or volume to head `k`."""
    import torch

    from napari_unetpp.inference.devices import (
        choose_device,
        memory_format,
        prepared,
        tune_allocator,
    )
    from napari_unetpp.models.file import build_network

    device = choose_device(device_name)
    tune_allocator()
    network = prepared(build_network(spec).eval().pruned(k), device)
    count, shape = BATCH[device.kind], PLANE if spec.dims == 2 else VOLUME
    batch = torch.rand(count, spec.in_channels, *shape).to(device.kind, device.dtype)
    batch = batch.to(memory_format=memory_format(spec.dims))

    def once() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            *_, logits = network.heads(batch)
            _wait(device.kind, logits)
        return (time.perf_counter() - started) / count

    return once


def _wait(kind: str, logits: Any) -> None:
    """Until a GPU is done; what it found stays there, as copying is no part of the network."""
    import torch

    if kind == "cuda":
        torch.cuda.synchronize()
    elif kind == "mps":
        torch.mps.synchronize()


def _by_turns(tasks: Mapping[K, Callable[[], float]]) -> dict[K, float]:
    """The medians; a first round isn't counted."""
    taken: dict[K, list[float]] = {key: [] for key in tasks}
    for number in range(ROUNDS + 1):
        for key, task in tasks.items():
            seconds = task()
            if number:
                taken[key].append(seconds)
    return {key: statistics.median(each) for key, each in taken.items()}
