"""The network as it is run here, against the same weights in plain eager fp32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import Floats, in_child, precisions, ratio, seconds_of, the_model, the_spec
from benchmarks.sheet import Sheet, verdict

if TYPE_CHECKING:
    import torch

    from napari_unetpp.network import UNetPlusPlus

GOALS = {"fp32": {"L1": 1.7, "L4": 1.4}, "bf16": {"L1": 3.3, "L4": 2.8}}
"""How many times as fast as plain, at least."""


@dataclass(frozen=True)
class Variant:
    """How a network is run.

    Attributes
    ----------
    allocator : bool
        glibc keeps freed memory; see `tune_allocator`.
    channels_last : bool
        Layout of weights and input.
    folded : bool
        Batch norms in the weights.
    bf16 : bool
        Weights and activations in 16 bits.
    """

    allocator: bool = False
    channels_last: bool = False
    folded: bool = False
    bf16: bool = False


PLAIN = "plain"
VARIANTS = {
    PLAIN: Variant(),
    "allocator": Variant(allocator=True),
    "channels last": Variant(allocator=True, channels_last=True),
    "fp32": Variant(allocator=True, channels_last=True, folded=True),
    "bf16": Variant(allocator=True, channels_last=True, folded=True, bf16=True),
}
"""Each adds one step to the one before; "fp32" and "bf16" are what users get."""
STEPS = ("allocator", "channels last")


def sheets(
    *, size: int = 512, rounds: int = 3, repeats: int = 3, steps: bool = False
) -> list[Sheet]:
    """Times of each head and ratios to plain; every variant in a child of its own, by turns.

    Parameters
    ----------
    size : int
        Side of the plane, in pixels.
    rounds : int
        Children of each variant.
    repeats : int
        Runs in each child, after one that isn't counted.
    steps : bool
        Also what lies between plain and ours, step by step.
    """
    ours = in_child(precisions)
    names = [PLAIN, *(STEPS if steps else ()), *ours]
    times: dict[str, list[list[float]]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times[name].append(in_child(measure, VARIANTS[name], size, repeats))
    arrays = {name: np.asarray(values) for name, values in times.items()}
    note = f"{rounds} children of each variant by turns, {repeats} runs each; medians."
    goals = (
        "Median and quartiles over the rounds; each column adds a step to the one before. Goals: "
    )
    goals += "; ".join(f"{p} {head} ≥ {goal}" for p in ours for head, goal in GOALS[p].items())
    title = f"engine: {{}}; each pruned network alone, {size} × {size}, batch 1, CPU"
    heads = [f"L{k}" for k in range(1, the_spec().depth + 1)]
    return [
        Sheet(title.format("milliseconds"), ("head", *names), _times(heads, arrays), note),
        Sheet(
            title.format("times as fast as plain"),
            ("head", *names[1:], "goals met"),
            _ratios(heads, arrays),
            goals,
        ),
    ]


def measure(variant: Variant, size: int, repeats: int) -> list[float]:
    """Median seconds of each pruned network, L1 first; in a child of its own."""
    import torch

    from napari_unetpp.inference.devices import tune_allocator

    network = the_model().network
    if variant.allocator:
        tune_allocator()
    medians = []
    for k in network.supervised:
        run = make_network(network.pruned(k), variant)
        x = make_input(network.in_channels, size, variant)
        with torch.inference_mode() if variant.folded else torch.no_grad():
            run(x)
            medians.append(float(np.median([seconds_of(lambda: run(x)) for _ in range(repeats)])))  # noqa: B023
    return medians


def make_network(network: UNetPlusPlus, variant: Variant) -> UNetPlusPlus:
    """The network as a variant runs it."""
    import torch

    from napari_unetpp.inference.devices import Device, channels_last, prepared

    if variant.folded:
        dtype = torch.bfloat16 if variant.bf16 else torch.float32
        return prepared(network, Device("cpu", dtype, "", ""))
    network = network.eval()
    return channels_last(network) if variant.channels_last else network


def make_input(channels: int, size: int, variant: Variant) -> torch.Tensor:
    """Noise as a variant takes it."""
    import torch

    x = torch.rand(1, channels, size, size, dtype=torch.bfloat16 if variant.bf16 else torch.float32)
    return x.to(memory_format=torch.channels_last) if variant.channels_last else x


def _times(heads: list[str], times: dict[str, Floats]) -> list[tuple[str, ...]]:
    medians = [1e3 * np.median(values, axis=0) for values in times.values()]
    return [
        (head, *(f"{ms:.1f}" for ms in row))
        for head, row in zip(heads, zip(*medians, strict=True), strict=True)
    ]


def _ratios(heads: list[str], times: dict[str, Floats]) -> list[tuple[str, ...]]:
    rows = []
    for number, head in enumerate(heads):
        columns = {name: values[:, number] for name, values in times.items()}
        plain = columns.pop(PLAIN)
        ratios = {name: ratio(plain, column) for name, column in columns.items()}
        goals = {p: goal[head] for p, goal in GOALS.items() if head in goal and p in ratios}
        met = verdict(all(ratios[p][0] >= goal for p, goal in goals.items()))
        rows.append((head, *(words for _, words in ratios.values()), met if goals else ""))
    return rows
