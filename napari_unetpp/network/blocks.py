"""The parts of a node: convolutions, down-sampling and up-sampling, in 2D or 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Norm = Literal["batch"] | None


@dataclass(frozen=True)
class LayerKinds:
    """The layers of one dimensionality, so that 2D and 3D are built by the same rule."""

    convolution: type[nn.Conv2d] | type[nn.Conv3d]
    transposed: type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]
    max_pool: type[nn.MaxPool2d] | type[nn.MaxPool3d]
    batch_norm: type[nn.BatchNorm2d] | type[nn.BatchNorm3d]


LAYER_KINDS = {
    2: LayerKinds(nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.BatchNorm2d),
    3: LayerKinds(nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.BatchNorm3d),
}


SEEN = 2
"""Pixels that the two 3×3 convolutions of a node see around each pixel."""


class ConvBlock(nn.Sequential):
    """The convolutions of one node: (3×3 convolution, norm, ReLU, dropout) twice.

    Zhou et al., 2018, section 2, and the authors' Keras code, which has no norm and a dropout of
    0.5. A convolution that a norm follows has no bias, since the norm would take it out again.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the concatenated skips, and of the node's output.
    dims : {2, 3}
        Number of spatial axes.
    norm : {None, "batch"}
        Normalisation after each convolution.
    dropout : float
        Probability of dropping a value after each ReLU, in [0, 1).
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, dims: int, norm: Norm, dropout: float
    ) -> None:
        kinds = LAYER_KINDS[dims]
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers.append(
                kinds.convolution(channels, out_channels, 3, padding=1, bias=norm is None)
            )
            if norm == "batch":
                layers.append(kinds.batch_norm(out_channels))
            layers.append(nn.ReLU(inplace=True))
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers)

    def folded(self) -> nn.Sequential:
        """The same function in evaluation mode, with the batch norms folded into the weights."""
        layers: list[nn.Module] = []
        for layer in self:
            if isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d)):
                convolution: Any = layers.pop()
                layers.append(fuse_conv_bn_eval(convolution, layer))
            elif not isinstance(layer, nn.Dropout):
                layers.append(layer)
        return nn.Sequential(*layers)


def down_sampling(*, dims: int) -> nn.Module:
    """Max-pooling by 2; an odd size is rounded up, so that no pixel is lost."""
    return LAYER_KINDS[dims].max_pool(2, ceil_mode=True)


def up_sampling(in_channels: int, out_channels: int, *, dims: int) -> nn.Module:
    """Transposed 2×2 convolution of stride 2, to the width of the row that it enters."""
    return LAYER_KINDS[dims].transposed(in_channels, out_channels, 2, stride=2)


def head(in_channels: int, classes: int, *, dims: int) -> nn.Module:
    """1×1 convolution from a node of row 0 to one logit a class."""
    return LAYER_KINDS[dims].convolution(in_channels, classes, 1)


STRIP = 128
"""Rows of a strip: few enough to save most of the memory, and so many that little is done twice."""


def nested(node: nn.Module, up: nn.Module, below: Tensor, skips: Sequence[Tensor]) -> Tensor:
    """``X[i][j]`` from ``X[i+1][j-1]``, which is sampled up, and ``X[i][0] … X[i][j-1]``.

    Where no gradient is wanted it is made strip by strip along the first spatial axis, as the
    concatenation would be the largest tensor by far. Each strip has the rows around it that the
    node's two convolutions see.
    """
    rows = skips[0].shape[2]
    if torch.is_grad_enabled() or rows <= STRIP * 1.5:
        return _joined(node, up(below), skips)
    out: Tensor | None = None
    for start in range(0, rows, STRIP):
        stop = min(start + STRIP, rows)
        first, last = max(start - SEEN, 0), min(stop + SEEN, rows)
        found = _part(node, up, below, skips, first, last).narrow(2, start - first, stop - start)
        if out is None:
            out = torch.empty(
                (*found.shape[:2], rows, *found.shape[3:]),
                dtype=found.dtype,
                device=found.device,
                memory_format=_format_of(skips[0]),
            )
        out.narrow(2, start, stop - start).copy_(found)
    assert out is not None
    return out


def _part(
    node: nn.Module, up: nn.Module, below: Tensor, skips: Sequence[Tensor], first: int, last: int
) -> Tensor:
    """The node's output for the rows from `first`, which is even, to `last`."""
    parts = [skip.narrow(2, first, last - first) for skip in skips]
    half = first // 2
    return _joined(node, up(below.narrow(2, half, -(-last // 2) - half)), parts)


def _joined(node: nn.Module, sampled: Tensor, skips: Sequence[Tensor]) -> Tensor:
    """The node's output, from what was sampled up and from its skips."""
    found: Tensor = node(torch.cat([crop_to(sampled, like=skips[0]), *skips], dim=1))
    return found


def _format_of(x: Tensor) -> torch.memory_format:
    """How a tensor lies in memory: its channels first or last."""
    if x.is_contiguous():
        return torch.contiguous_format
    return torch.channels_last if x.ndim == 4 else torch.channels_last_3d


def crop_to(x: Tensor, like: Tensor) -> Tensor:
    """Cut the far ends of the spatial axes of `x` to the size of `like` (after rounding up)."""
    if torch.compiler.is_compiling():
        # Lengths are symbols then. To compare or to slice them would tie the graph to the odd or
        # even lengths of the example; to pick pixels by their number doesn't.
        for axis, size in enumerate(like.shape[2:], start=2):
            x = x.index_select(axis, torch.arange(size, device=x.device))
        return x
    if x.shape[2:] == like.shape[2:]:
        return x
    for axis, size in enumerate(like.shape[2:], start=2):
        x = x.narrow(axis, 0, size)
    return x
