"""Peak memory of the process above what it held before, on Linux."""

from __future__ import annotations

import ctypes
import gc
import platform
from pathlib import Path

from benchmarks.common import (
    Precision,
    in_child,
    mosaic,
    precision_of_cpu,
    precisions,
    the_model,
    the_spec,
)
from benchmarks.engine import PLAIN, VARIANTS, make_input, make_network
from benchmarks.sheet import Sheet
from napari_unetpp.inference.options import SegmentOptions

STATUS = Path("/proc/self/status")
Peaks = tuple[float, float]
"""MB above the baseline, and MB of the whole process."""


def sheets(*, size: int = 512, large: int = 2048) -> list[Sheet]:
    """Peak memory of each head, and of `segment`; every figure from a child of its own.

    Parameters
    ----------
    size, large : int
        Sides of the planes, in pixels.
    """
    if not is_measured():
        note = "Memory is measured on Linux only: other systems don't tell a process's peak anew."
        return [Sheet("memory: left out", ("", ""), [], note)]
    ours = in_child(precisions)
    return [_heads(size, [PLAIN, *ours]), _segment(large, ours)]


def of_head(name: str, k: int, size: int) -> Peaks:
    """Peak of one forward pass of the network pruned to head `k`; in a child of its own."""
    import torch

    from napari_unetpp.inference.devices import tune_allocator

    variant = VARIANTS[name]
    network = make_network(the_model().network.pruned(k), variant)
    x = make_input(network.in_channels, size, variant)
    baseline = start()
    if variant.allocator:
        tune_allocator()
    with torch.inference_mode() if variant.folded else torch.no_grad():
        network(x)
    return since(baseline)


def of_segment(precision: Precision, size: int) -> Peaks:
    """Peak of `segment`, folding of the weights and result included; in a child of its own."""
    from napari_unetpp.inference.predict import segment

    image, model = mosaic(size, size), the_model()
    baseline = start()
    with precision_of_cpu(precision):
        segment(image, model, options=SegmentOptions(device="cpu"))
    return since(baseline)


def is_measured() -> bool:
    """Whether this system tells a process's peak anew."""
    return platform.system() == "Linux"


def start() -> float:
    """Give back what is free, forget the peak so far; the memory held now, in MB."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held now
    return field("VmRSS")


def since(baseline: float) -> Peaks:
    """The peak above a baseline, and the peak itself, in MB."""
    peak = field("VmHWM")
    return peak - baseline, peak


def field(name: str) -> float:
    """A size from the kernel's account of this process, in MB (10⁶ bytes)."""
    lines = STATUS.read_text().splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kibibytes) * 1024 / 1e6


def _heads(size: int, names: list[str]) -> Sheet:
    rows = []
    for k in range(1, the_spec().depth + 1):
        peaks = [in_child(of_head, name, k, size) for name in names]
        rows.append((f"L{k}", *(f"{above:.0f}" for above, _ in peaks)))
    return Sheet(
        f"memory: one forward pass of each pruned network, {size} × {size}, CPU",
        ("head", *(f"{name}, MB" for name in names)),
        rows,
        "Peak above what the process held with torch, weights and input; a child for each figure.",
    )


def _segment(size: int, ours: list[Precision]) -> Sheet:
    rows = []
    for precision in ours:
        above, peak = in_child(of_segment, precision, size)
        rows.append((precision, f"{above:.0f}", f"{peak:.0f}"))
    return Sheet(
        f"memory: segment to the deepest head, {size} × {size} uint16, tiles as they fit, CPU",
        ("precision", "above baseline, MB", "whole process, MB"),
        rows,
        "Above what the process held with torch, model and image; the result is in the peak.",
    )
