"""What a head costs, counted."""

from __future__ import annotations

from napari_unetpp.network.unetpp import UNetPlusPlus, grid


def multiply_adds(network: UNetPlusPlus, k: int) -> float:
    """Multiplications with addition that head `k` needs for one pixel (voxel) of its input.

    Only convolutions are counted. Two operations each: 238.0 GFLOP at 512 × 512 for L4 of the
    defaults.
    """
    widths, dims = network.widths, network.dims
    total = float(widths[0] * network.classes)
    for i, j in grid(k):
        first = (j + 1) * widths[i] if j > 0 else (widths[i - 1] if i > 0 else network.in_channels)
        node = 3**dims * (first + widths[i]) * widths[i]
        up = widths[i + 1] * widths[i] if j > 0 else 0  # each output pixel has one source pixel
        total += (node + up) / 2 ** (dims * i)
    return total
