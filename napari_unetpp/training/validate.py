"""Score a network on samples while it is being trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from napari_unetpp.evaluation.metrics import PixelCounts
from napari_unetpp.inference.devices import Device, memory_format
from napari_unetpp.network import UNetPlusPlus
from napari_unetpp.training.samples import Sample

WINDOW = 1024
"""Larger samples are validated in windows of this size, so that memory stays bounded."""


@dataclass(frozen=True)
class Scores:
    """IoU of each head at threshold 0.5, all known pixels in one figure.

    Attributes
    ----------
    heads : dict of str to float
        "L1" … to IoU, 0 to 1.
    kinds : dict of str to (dict of str to float)
        The same for each kind of image.
    """

    heads: Mapping[str, float]
    kinds: Mapping[str, Mapping[str, float]]

    @property
    def mean(self) -> float:
        """Mean IoU of the heads: every one of them is for use."""
        return float(np.mean(list(self.heads.values())))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        kinds = {kind: dict(heads) for kind, heads in self.kinds.items()}
        return {"heads": dict(self.heads), "kinds": kinds}


def validate(network: UNetPlusPlus, samples: Sequence[Sample], device: Device) -> Scores:
    """The scores of a network that `devices.prepared` made ready."""
    counts: dict[tuple[str, int], PixelCounts] = defaultdict(PixelCounts)
    for sample in samples:
        for rows, columns in _windows(sample.image.shape[1:]):
            image = torch.from_numpy(sample.image[None, :, rows, columns])
            image = image.to(device.kind, device.dtype, memory_format=memory_format(2))
            known = sample.weight[:, rows, columns] > 0
            truth = (sample.mask[:, rows, columns] > 0) & known
            with torch.inference_mode():
                for k, logits in zip(network.supervised, network.heads(image), strict=True):
                    mask = (logits[0] > 0).cpu().numpy() & known
                    counts[sample.kind, k] += PixelCounts.of(mask, truth)
    kinds = sorted({kind for kind, _ in counts})
    total = {k: sum((counts[kind, k] for kind in kinds), PixelCounts()) for k in network.supervised}
    return Scores(
        {f"L{k}": total[k].iou for k in network.supervised},
        {kind: {f"L{k}": counts[kind, k].iou for k in network.supervised} for kind in kinds},
    )


def _windows(shape: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    for y in range(0, shape[0], WINDOW):
        for x in range(0, shape[1], WINDOW):
            yield slice(y, y + WINDOW), slice(x, x + WINDOW)
