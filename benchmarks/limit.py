"""What this CPU can do at most, as far as torch gets there: the best of a few large products."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.common import Precision, clock_for, seconds_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIDE = 3072
"""Of the matrices."""
CONVOLUTION = (256, 160, 176)
"""Channels (in and out) and plane of the convolution, 3×3: one in the middle of a large UNet++."""


def of_cpu(precision: Precision, *, busy: bool = False, repeats: int = 4) -> float:
    """GFLOP/s of the best of two products with all threads; in a child of its own."""
    import torch

    clock = clock_for(busy=busy)

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.inference_mode():
        found = []
        for operations, run in (_matrices(dtype), _convolution(dtype)):
            run()
            found += [operations / seconds_of(run, clock) / 1e9 for _ in range(repeats)]
    return max(found)


def _matrices(dtype: torch.dtype) -> tuple[float, Callable[[], Tensor]]:
    import torch

    one, other = (torch.rand(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2.0 * SIDE**3, lambda: one @ other


def _convolution(dtype: torch.dtype) -> tuple[float, Callable[[], Tensor]]:
    import torch

    channels, height, width = CONVOLUTION
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    layer = layer.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(1, channels, height, width).to(dtype=dtype, memory_format=torch.channels_last)
    return 2.0 * 9 * channels**2 * height * width, lambda: layer(x)
