"""What a node is made of: convolutions in 2D or 3D, wired in one way or another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
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
    average_pool: type[nn.AvgPool2d] | type[nn.AvgPool3d]
    batch_norm: type[nn.BatchNorm2d] | type[nn.BatchNorm3d]


class Convolution3d(nn.Conv3d):
    """A convolution in 3D that is right for volumes of one plane, too.

    On a CPU in bf16, oneDNN reads beyond a single plane of a single channel, and gives whatever
    lies there (torch 2.13). With a plane of zeros behind it, as padding has it anyway, it does not.
    """

    def forward(self, input: Tensor) -> Tensor:
        """As `torch.nn.Conv3d` does it."""
        if input.dtype == torch.bfloat16 and input.shape[1:3] == (1, 1) and self.stride[0] == 1:
            return super().forward(nn.functional.pad(input, (0, 0, 0, 0, 0, 1)))[:, :, :1]
        return super().forward(input)


LAYER_KINDS = {
    2: LayerKinds(nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d),
    3: LayerKinds(Convolution3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.AvgPool3d, nn.BatchNorm3d),
}


@dataclass(frozen=True, kw_only=True)
class Units:
    """How the convolutions of a node are made: each with its norm, ReLU and dropout.

    Attributes
    ----------
    dims : {2, 3}
        Number of spatial axes.
    norm : {None, "batch"}
        Normalisation after each convolution. One that a norm follows has no bias, since the norm
        would take it out again.
    dropout : float
        Probability of dropping a value after each ReLU, in [0, 1).
    dilation : int
        Distance of the pixels that a 3×3 convolution reads.
    groups : int
        Parts of the channels in convolutions that are grouped.
    """

    dims: int
    norm: Norm = None
    dropout: float = 0.0
    dilation: int = 1
    groups: int = 1

    def linear(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
    ) -> list[nn.Module]:
        """A convolution and its norm; the size stays, or is divided by the stride, rounded up."""
        kinds = LAYER_KINDS[self.dims]
        dilation = self.dilation if kernel > 1 else 1
        convolution = kinds.convolution(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2 * dilation,
            dilation=dilation,
            groups=groups,
            bias=self.norm is None,
        )
        return [convolution] if self.norm is None else [convolution, kinds.batch_norm(out_channels)]

    def active(self) -> list[nn.Module]:
        """What comes after: ReLU, and dropout if there is any."""
        layers: list[nn.Module] = [nn.ReLU(inplace=True)]
        return [*layers, nn.Dropout(self.dropout)] if self.dropout > 0 else layers

    def unit(self, in_channels: int, out_channels: int, **how: int) -> list[nn.Module]:
        """All of it, see `linear`."""
        return [*self.linear(in_channels, out_channels, **how), *self.active()]


class ConvBlock(nn.Sequential):
    """(3×3 convolution, norm, ReLU, dropout) twice (Zhou et al., 2018, section 2).

    The authors' Keras code has no norm and a dropout of 0.5.
    """

    def __init__(self, in_channels: int, out_channels: int, units: Units) -> None:
        super().__init__(
            *units.unit(in_channels, out_channels), *units.unit(out_channels, out_channels)
        )


class AggregationNode(nn.Sequential):
    """A single 3×3 convolution, norm and ReLU (Yu et al., 2018, `IDAUp` of their code)."""

    def __init__(self, in_channels: int, out_channels: int, units: Units) -> None:
        super().__init__(*units.unit(in_channels, out_channels))


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to the input (He et al., 2016, figures 2 and 3).

    Where the widths differ, which is nearly everywhere in a grid that concatenates, the shortcut is
    a 1×1 convolution (their option B).
    """

    def __init__(self, in_channels: int, out_channels: int, units: Units) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *units.unit(in_channels, out_channels), *units.linear(out_channels, out_channels)
        )
        same = in_channels == out_channels
        self.shortcut = nn.Sequential(
            *([] if same else units.linear(in_channels, out_channels, kernel=1))
        )
        self.after = nn.Sequential(*units.active())

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        found: Tensor = self.after(self.body(x) + self.shortcut(x))
        return found


class DenseBlock(nn.Module):
    """Each convolution reads the input and all before it; the new channels are what comes out.

    Two convolutions, each giving a half of the width (Huang et al., 2017; without the input in the
    output, as on the way up of Jégou et al., 2017).
    """

    def __init__(self, in_channels: int, out_channels: int, units: Units) -> None:
        super().__init__()
        first = out_channels - out_channels // 2
        self.first = nn.Sequential(*units.unit(in_channels, first))
        self.second = nn.Sequential(*units.unit(in_channels + first, out_channels - first))

    def forward(self, x: Tensor) -> Tensor:
        """The new channels of both convolutions."""
        new = self.first(x)
        return torch.cat([new, self.second(torch.cat([x, new], dim=1))], dim=1)


class GroupedBlock(nn.Sequential):
    """Each 3×3 convolution divided in two: 1×1 over all channels, then 3×3 within groups of them.

    Groups as in Xie et al., 2017 (ResNeXt); as many groups as channels would be the extreme of
    Chollet, 2017 (Xception, figure 4).
    """

    def __init__(self, in_channels: int, out_channels: int, units: Units) -> None:
        widths = (in_channels, out_channels, out_channels)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += units.unit(before, after, kernel=1)
            layers += units.unit(after, after, groups=units.groups)
        super().__init__(*layers)


BLOCKS: dict[str, type[nn.Module]] = {
    "plain": ConvBlock,
    "residual": ResidualBlock,
    "dense": DenseBlock,
    "grouped": GroupedBlock,
    "aggregation": AggregationNode,
}


def head(in_channels: int, classes: int, *, dims: int) -> nn.Module:
    """1×1 convolution from a node of row 0 to one logit a class."""
    return LAYER_KINDS[dims].convolution(in_channels, classes, 1)


def folded(module: nn.Module) -> nn.Module:
    """The same function in evaluation mode, with the batch norms folded into the weights.

    `module` is taken apart; sequences of it become plain ones without norms and dropout.
    """
    if isinstance(module, nn.Sequential):
        layers: list[nn.Module] = []
        for layer in module:
            if isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d)):
                convolution: Any = layers.pop()
                layers.append(fuse_conv_bn_eval(convolution, layer))
            elif not isinstance(layer, nn.Dropout):
                layers.append(folded(layer))
        return nn.Sequential(*layers)
    for name, child in module.named_children():
        setattr(module, name, folded(child))
    return module
