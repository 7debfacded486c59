"""Is anytime free? Each head of one pass against its pruned network alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import (
    Floats,
    Precision,
    in_child,
    interleaved,
    precision_of_cpu,
    precisions,
    ratio,
    the_model,
)
from benchmarks.sheet import Sheet, verdict

if TYPE_CHECKING:
    import torch

    from napari_unetpp.network import UNetPlusPlus

TOGETHER = "heads"
EARLY = 1.05
"""A head comes at most this many times as late as from its pruned network."""
WHOLE = 1.03
"""The whole costs at most this many times what the deepest pruned network costs."""


def sheets(*, size: int = 512, rounds: int = 15) -> list[Sheet]:
    """When each head comes, in one pass and alone, for each precision of this CPU.

    Parameters
    ----------
    size : int
        Side of the plane, in pixels.
    rounds : int
        How often each is run, by turns.
    """
    return [
        _sheet(precision, size, rounds, in_child(measure, precision, size, rounds))
        for precision in in_child(precisions)
    ]


def measure(precision: Precision, size: int, rounds: int) -> dict[str, Floats]:
    """Seconds to each head: all of one pass, and each pruned network; shape ``(rounds, heads)``."""
    import torch

    from napari_unetpp.inference.devices import choose_device, prepared, tune_allocator

    tune_allocator()
    network = the_model().network
    with precision_of_cpu(precision):
        device = choose_device("cpu")
    x = torch.rand(1, network.in_channels, size, size).to(device.dtype)
    x = x.to(memory_format=torch.channels_last)
    tasks: dict[str, Callable[[], Sequence[float]]] = {
        TOGETHER: partial(arrivals, prepared(network, device), x)
    }
    for k in network.supervised:
        tasks[f"L{k}"] = partial(arrivals, prepared(network.pruned(k), device), x)
    return interleaved(tasks, rounds)


def arrivals(network: UNetPlusPlus, x: torch.Tensor) -> list[float]:
    """Seconds from the input to each head of a network."""
    import torch

    started, times = time.perf_counter(), []
    with torch.inference_mode():
        for _ in network.heads(x):
            times.append(time.perf_counter() - started)
    return times


def _sheet(precision: str, size: int, rounds: int, times: dict[str, Floats]) -> Sheet:
    together = times.pop(TOGETHER)
    rows = []
    for number, (head, alone) in enumerate(times.items()):
        arrival, last = together[:, number], number == len(times) - 1
        value, words = ratio(arrival, alone[:, 0])
        limit = WHOLE if last else EARLY
        rows.append(
            (
                f"{head}, the whole" if last else head,
                f"{1e3 * np.median(alone):.0f}",
                f"{1e3 * np.median(arrival):.0f}",
                words.replace(f"{value:.2f} ", f"{value:.3f} "),
                f"≤ {limit}",
                verdict(value <= limit),
            )
        )
    columns = ("head", "alone, ms", "in one pass, ms", "ratio", "goal", "met")
    note = f"{rounds} rounds by turns in one process; medians, ratios with quartiles."
    return Sheet(f"heads: {precision}, {size} × {size}, batch 1, CPU", columns, rows, note)
