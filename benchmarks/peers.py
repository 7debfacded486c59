"""Time to L4 against what else there is of UNet++; peers are installed for this only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from benchmarks import limit
from benchmarks.common import (
    Floats,
    Precision,
    clock_for,
    in_child,
    precisions,
    ratio,
    seconds_of,
    the_model,
    threads,
)
from benchmarks.engine import VARIANTS, make_network
from benchmarks.memory import is_measured, since, start
from benchmarks.sheet import Sheet, verdict

if TYPE_CHECKING:
    import torch
    from torch import nn

OURS, MONAI, MONAI_BATCH, SMP = "ours", "MONAI", "MONAI, batch norm", "smp, ResNet-34"
GOALS: dict[Precision, float] = {"fp32": 1.8, "bf16": 3.0}
"""How many times as fast as MONAI, at least."""
WIDTHS = (32, 64, 128, 256, 512)
INSTALL = "pip install -r benchmarks/requirements.txt"


class MissingError(Exception):
    """A peer can't be imported; says so in a sentence."""


@dataclass(frozen=True)
class Size:
    """What a network has: parameters, and floating-point operations for the plane."""

    parameters: int
    operations: float


@dataclass(frozen=True)
class Found:
    """What one child measured: median seconds of a pass, and the peak in MB above the baseline."""

    seconds: float
    peak: float


def sheets(
    *, height: int = 480, width: int = 544, rounds: int = 3, repeats: int = 3, busy: bool = False
) -> list[Sheet]:
    """Speed, memory and share of the limit, ours and peers by turns in children.

    Parameters
    ----------
    height, width : int
        Of the plane, in pixels: multiples of 32, which one of the peers needs.
    rounds : int
        Children of each network.
    repeats : int
        Runs in each child, after one that isn't counted.
    busy : bool
        See `clock_for`.
    """
    sizes, missing = in_child(there, height, width)
    tables = []
    for precision in in_child(precisions):
        found: dict[str, list[Found]] = {name: [] for name in sizes}
        limits = []
        for number in range(rounds):
            limits.append(in_child(limit.of_cpu, precision, busy=busy))
            names = list(sizes)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                args = (name, precision, height, width, repeats)
                found[name].append(in_child(measure, *args, busy=busy))
        title = f"peers: {precision}, {height} × {width}, batch 1, {threads(busy=busy)}"
        tables.append(_sheet(precision, title, sizes, found, max(limits), height * width / 1e6))
    return [*tables, _about(missing)]


def there(height: int, width: int) -> tuple[dict[str, Size], list[str]]:
    """The networks that can be made, and why others can't; in a child, as it loads all of them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    sizes, missing = {}, []
    for name, make in MAKERS.items():
        try:
            network = make()
        except MissingError as error:
            missing += [] if str(error) in missing else [str(error)]
            continue
        x = torch.rand(1, 1, height, width)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(x)
        parameters = sum(p.numel() for p in network.parameters())
        sizes[name] = Size(parameters, float(counter.get_total_flops()))
    return sizes, missing


def measure(
    name: str, precision: Precision, height: int, width: int, repeats: int, *, busy: bool = False
) -> Found:
    """One network, as its users run it; in a child of its own.

    Peers run in evaluation mode, as they come, and in bf16 under `torch.autocast`; ours as the
    engine does it. `inference_mode` for all.
    """
    import torch

    from napari_unetpp.inference.devices import tune_allocator

    clock = clock_for(busy=busy)
    network: Callable[[torch.Tensor], object] = MAKERS[name]()
    x = torch.rand(1, 1, height, width)
    context = nullcontext()
    if name == OURS:
        network = make_network(the_model().network, VARIANTS[precision])
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        x = x.to(dtype=dtype, memory_format=torch.channels_last)
    elif precision == "bf16":
        context = torch.autocast("cpu", torch.bfloat16)  # type: ignore[assignment]
    baseline = start() if is_measured() else 0.0
    if name == OURS:
        tune_allocator()
    with torch.inference_mode(), context:
        network(x)
        peak = since(baseline)[0] if is_measured() else float("nan")
        seconds = float(np.median([seconds_of(lambda: network(x), clock) for _ in range(repeats)]))
    return Found(seconds, peak)


def _ours() -> nn.Module:
    return the_model().network


def _monai(**how: Any) -> nn.Module:
    try:
        from monai.networks.nets import BasicUNetPlusPlus
    except ImportError as error:
        raise MissingError(f"MONAI can't be imported ({error}): {INSTALL}.") from error
    network: nn.Module = BasicUNetPlusPlus(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        features=(*WIDTHS, WIDTHS[0]),
        deep_supervision=True,
        **how,
    ).eval()
    return network


def _smp() -> nn.Module:
    import torch

    # A torchvision built for CUDA can't describe its operators beside a torch without it, at which
    # its import fails. None of them is used here.
    with mock.patch.object(torch.library, "register_fake", _unregistered):
        try:
            import segmentation_models_pytorch as smp
        except (ImportError, RuntimeError) as error:
            raise MissingError(
                f"segmentation_models_pytorch can't be imported ({error}): {INSTALL}."
            ) from error
    network: nn.Module = smp.UnetPlusPlus(
        "resnet34", encoder_weights=None, in_channels=1, classes=1
    ).eval()
    return network


def _unregistered(*_: object, **__: object) -> Callable[[Any], Any]:
    return lambda function: function


MAKERS: dict[str, Callable[[], Any]] = {
    OURS: _ours,
    MONAI: _monai,
    MONAI_BATCH: lambda: _monai(norm="batch"),
    SMP: _smp,
}
"""In evaluation mode, with any weights."""


def _sheet(
    precision: Precision,
    title: str,
    sizes: dict[str, Size],
    found: dict[str, list[Found]],
    most: float,
    megapixels: float,
) -> Sheet:
    seconds: dict[str, Floats] = {
        name: np.array([one.seconds for one in several]) for name, several in found.items()
    }
    rows = []
    for name, size in sizes.items():
        median, gflop = float(np.median(seconds[name])), size.operations / 1e9
        peak = np.median([one.peak for one in found[name]])
        times, words = ratio(seconds[name], seconds[OURS])
        goal = GOALS[precision] if name.startswith(MONAI) else None
        rows.append(
            (
                name,
                f"{size.parameters / 1e6:.2f}",
                f"{gflop:.0f}",
                f"{1e3 * median / megapixels:.0f}",
                f"{1e3 * median / gflop:.2f}",
                f"{gflop / median / most:.0%}",
                f"{peak:.0f}",
                "" if name == OURS else words,
                "" if goal is None else verdict(times >= goal),
            )
        )
    columns = ("network", "M parameters", "GFLOP", "ms / megapixel", "ms / GFLOP")
    columns += ("of the limit", "peak, MB", "times as fast, ours", "met")
    return Sheet(
        title,
        columns,
        rows,
        f"The limit: {most:.0f} GFLOP/s, the best large product that torch does here. Goal: ours "
        f"≥ {GOALS[precision]} times as fast as MONAI.",
    )


def _about(missing: list[str]) -> Sheet:
    """What is compared, and what was left out."""
    widths = " … ".join(map(str, (WIDTHS[0], WIDTHS[-1])))
    rows = [
        (OURS, f"all heads L1 to L4 in one pass, widths {widths}, as the engine runs it"),
        (MONAI, f"`BasicUNetPlusPlus`, all heads, widths {widths}, as it comes: instance norm"),
        (MONAI_BATCH, "the same with our kind of norm"),
        (SMP, "`UnetPlusPlus` as it comes: one head, another encoder, first row at half the size"),
    ]
    note = " ".join(missing) or "Nothing was left out."
    return Sheet("peers: what is compared", ("network", "what it is"), rows, note)
