"""What a head costs, counted."""

from __future__ import annotations

from torch import nn

from napari_unetpp.network.architecture import schedule
from napari_unetpp.network.unetpp import UNetPlusPlus, name


def multiply_adds(network: UNetPlusPlus, k: int) -> float:
    """Multiplications with addition that head `k` needs for one pixel (voxel) of its input.

    Only convolutions are counted. Two operations each: 238.0 GFLOP at 512 × 512 for L4 of the
    defaults.
    """
    kinds = network.architecture
    total = float(_weights(network.classifiers[f"L{k}"]))
    for step in schedule(kinds, k):
        (i, j), place = step.place, name(*step.place)
        here, below = (kinds.shrink(row) ** network.dims for row in (i, i + 1))
        total += _weights(network.nodes[place]) / here
        if j > 0:
            total += _weights(network.ups[place]) / below  # these are moved over the row below
        elif i > 0:
            total += _weights(network.downs[place]) / here
    return total


def _weights(module: nn.Module) -> int:
    """Weights of the convolutions in a module: each is used once for each place it is moved to."""
    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, kinds))
