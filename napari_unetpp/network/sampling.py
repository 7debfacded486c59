"""From one row of the grid to the next: down-sampling and up-sampling, in 2D or 3D.

An odd size is rounded up on the way down, so that no pixel is lost, and what comes up is cropped.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_unetpp.network.blocks import LAYER_KINDS, Units

LEAST_SQUARE = 1e-12
"""The root of less isn't taken: its slope at 0 is infinite."""


class AveragePool(nn.Module):
    """Mean of 2×2 pixels; where a side is odd, of those that there are at its end.

    torch's own average pooling takes neither volumes one voxel thick, nor, on a CPU, bf16 ones.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Half the size, rounded up."""
        axes = range(2, x.ndim)
        for axis in axes:
            if x.shape[axis] % 2:
                x = torch.cat([x, x.narrow(axis, x.shape[axis] - 1, 1)], dim=axis)
        pairs = (part for size in x.shape[2:] for part in (size // 2, 2))
        apart = x.reshape(*x.shape[:2], *pairs)
        return apart.mean(dim=tuple(range(3, apart.ndim, 2)))


class L2Pool(AveragePool):
    """Root of the mean square of 2×2 pixels: L2-norm pooling (Sermanet et al., 2012).

    The mean rather than the sum, so that constant areas keep their value, at the border too.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Half the size, rounded up."""
        return super().forward(x.square()).clamp_min(LEAST_SQUARE).sqrt()


class Shuffle(nn.Module):
    """Channels become pixels: ``(b, 2^n c, *spatial)`` to ``(b, c, *2 spatial)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Twice the size."""
        batch, channels, *sizes = x.shape
        dims = len(sizes)
        apart = x.reshape(batch, channels // 2**dims, *(2,) * dims, *sizes)
        order = chain.from_iterable((2 + dims + axis, 2 + axis) for axis in range(dims))
        shuffled = apart.permute(0, 1, *order).reshape(batch, -1, *(2 * size for size in sizes))
        return _laid_out(shuffled, like=x)


class Unpooling(nn.Module):
    """Put values back to where max pooling took its own from; 0 elsewhere (SegNet).

    Badrinarayanan et al., 2017. A 1×1 convolution brings them to the width of the row first. The
    places are found again from the encoder's node of the row, the `guide`, rather than kept.
    """

    def __init__(self, in_channels: int, out_channels: int, dims: int) -> None:
        super().__init__()
        self.project = LAYER_KINDS[dims].convolution(in_channels, out_channels, 1)
        self._pool = {2: functional.max_pool2d, 3: functional.max_pool3d}[dims]

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """The size of the guide."""
        values: Tensor = self.project(x)
        with torch.no_grad():
            _, places = self._pool(guide, 2, ceil_mode=True, return_indices=True)
        flat = values.new_zeros((*values.shape[:2], guide[0, 0].numel()))
        flat = flat.scatter(2, places.flatten(2), values.flatten(2))
        return _laid_out(flat.view(guide.shape), like=x)


def _laid_out(x: Tensor, like: Tensor) -> Tensor:
    """With the channels last in memory if those of `like` are: else the next layer copies it."""
    if like.stride(1) != 1:
        return x
    last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return x.contiguous(memory_format=last)


def _strided(channels: int, units: Units) -> nn.Module:
    """3×3 convolution of stride 2 in place of pooling (Springenberg et al., 2015)."""
    return nn.Sequential(*units.unit(channels, channels, stride=2))


def _nearest(in_channels: int, out_channels: int, dims: int) -> nn.Module:
    """Each pixel repeated; a 1×1 convolution brings it to the width of the row first."""
    return nn.Sequential(
        LAYER_KINDS[dims].convolution(in_channels, out_channels, 1),
        nn.Upsample(scale_factor=2, mode="nearest"),
    )


def _sub_pixel(in_channels: int, out_channels: int, dims: int) -> nn.Module:
    """3×3 convolution to 2^n times the channels, which become pixels (Shi et al., 2016)."""
    wide = LAYER_KINDS[dims].convolution(in_channels, out_channels * 2**dims, 3, padding=1)
    return nn.Sequential(wide, Shuffle())


DOWN: dict[str, Callable[[int, Units], nn.Module]] = {
    "max": lambda channels, units: LAYER_KINDS[units.dims].max_pool(2, ceil_mode=True),
    "average": lambda channels, units: AveragePool(),
    "l2": lambda channels, units: L2Pool(),
    "strided": _strided,
    "dilated": lambda channels, units: nn.Identity(),
}
"""From the channels of the row above to a module."""

UP: dict[str, Callable[[int, int, int], nn.Module]] = {
    "transposed": lambda before, after, dims: LAYER_KINDS[dims].transposed(
        before, after, 2, stride=2
    ),
    "nearest": _nearest,
    "sub-pixel": _sub_pixel,
    "unpooling": Unpooling,
    "none": lambda before, after, dims: LAYER_KINDS[dims].convolution(before, after, 1),
}
"""From the channels of the row below and of the row itself, and the spatial axes, to a module."""
