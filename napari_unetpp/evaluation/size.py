"""How large a network is, counted before there is one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from napari_unetpp.evaluation.depths import parameter_count
from napari_unetpp.models.file import build_network
from napari_unetpp.models.spec import ModelSpec
from napari_unetpp.network.cost import multiply_adds

MEGA = 1e6


@dataclass(frozen=True)
class Size:
    """What a network holds and computes.

    Attributes
    ----------
    parameters : int
        That are trained, all heads included.
    gflop : float
        10⁹ operations for 10⁶ pixels (voxels) to the deepest head, two for each
        multiplication with addition.
    """

    parameters: int
    gflop: float


@lru_cache(maxsize=256)
def size_of(spec: ModelSpec) -> Size:
    """Count a network; it takes no memory, but a tenth of a second. `spec` has no history."""
    with torch.device("meta"):
        network = build_network(spec)
    gflop = 2 * multiply_adds(network, spec.heads[-1]) * MEGA / 1e9
    return Size(parameter_count(network), gflop)
