"""What is exported: one head with all that it needs, as a graph for images of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_unetpp.export.intensities import Intensities
from napari_unetpp.models.file import Model
from napari_unetpp.network import UNetPlusPlus

INPUT, OUTPUT = "image", "probability"
"""What the tensors of the graph are called."""


class ExportedHead(nn.Module):
    """A head alone: intensities scaled by percentiles in, probabilities out.

    Parameters
    ----------
    network : UNetPlusPlus
        Pruned to one head, without batch norms.
    intensities : Intensities
        The part of the normalisation that goes into the graph.
    """

    def __init__(self, network: UNetPlusPlus, intensities: Intensities) -> None:
        super().__init__()
        self.network = network
        self.intensities = intensities

    def forward(self, image: Tensor) -> Tensor:
        """Float32 ``(b, c, *spatial)`` to float32 ``(b, classes, *spatial)`` in [0, 1]."""
        return self.plain(self.intensities(image))

    def plain(self, image: Tensor) -> Tensor:
        """As `forward`, for an image that is normalised already."""
        logits: Tensor = self.network(image)[0]
        return logits.sigmoid()


def head_of(model: Model, depth: int, *, tiled: bool = False) -> ExportedHead:
    """Head `depth` of a model, in 32 bits.

    With `tiled` it does nothing that hangs on more of the image than it is given at once: see
    `Intensities`.
    """
    network = model.network.pruned(depth).folded().float().requires_grad_(False)
    return ExportedHead(network, Intensities(model.spec.normalisation, adapts=not tiled)).eval()


def traced(head: ExportedHead) -> torch.export.ExportedProgram:
    """The graph of a head, in which the batch and the lengths of the spatial axes are free."""
    network = head.network
    lengths = [13 * 2**network.depth + 5 + 2 * axis for axis in range(network.dims)]
    example = torch.rand(2, network.in_channels, *lengths)  # as odd as can be
    axes = (0, *range(2, 2 + network.dims))
    free = {INPUT: dict.fromkeys(axes, torch.export.Dim.DYNAMIC)}
    return torch.export.export(head, (example,), dynamic_shapes=free, strict=False)


def run(head: Callable[[Tensor], Tensor], image: NDArray[np.float32]) -> NDArray[Any]:
    """What a head gives for ``(c, *spatial)``: float32 ``(classes, *spatial)``."""
    with torch.inference_mode():
        found = head(torch.from_numpy(np.ascontiguousarray(image))[None])[0]
    return found.numpy()
