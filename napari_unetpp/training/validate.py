"""Score a network on samples while it is being trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_unetpp.evaluation.metrics import PixelCounts
from napari_unetpp.inference.devices import Device, memory_format
from napari_unetpp.network import UNetPlusPlus
from napari_unetpp.training.samples import Sample

WINDOW = {2: 1024, 3: 128}
"""Larger planes and volumes are validated in windows of this size: memory stays bounded."""
CELL = {2: 64, 3: 32}
"""Side of the squares or cubes in which pixels are counted: what is near together errs together."""

BoolArray = NDArray[np.bool_]
Cells = NDArray[np.int64]
"""Shape ``(cells, 4)``: pixels in both, in the mask, in the truth, and known."""


@dataclass(frozen=True)
class Scores:
    """IoU of each head at threshold 0.5, all known pixels in one figure.

    Attributes
    ----------
    heads : dict of str to float
        "L1" … to IoU, 0 to 1.
    kinds : dict of str to (dict of str to float)
        The same for each kind of image.
    cells : dict of str to (dict of str to int array)
        For each kind and head what was counted, place by place.
    """

    heads: Mapping[str, float]
    kinds: Mapping[str, Mapping[str, float]]
    cells: Mapping[str, Mapping[str, Cells]] = field(default_factory=dict, compare=False)

    @property
    def mean(self) -> float:
        """Mean IoU of the heads: every one of them is for use."""
        return float(np.mean(list(self.heads.values())))

    def as_dict(self) -> dict[str, Any]:
        """Plain values without the cells, for JSON."""
        kinds = {kind: dict(heads) for kind, heads in self.kinds.items()}
        return {"heads": dict(self.heads), "kinds": kinds}


def validate(network: UNetPlusPlus, samples: Sequence[Sample], device: Device) -> Scores:
    """The scores of a network that `devices.prepared` made ready."""
    cells: dict[str, dict[str, list[Cells]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        # The cells begin where something is known, however much is cut out around it.
        found = ndimage.find_objects((sample.weight > 0).astype(np.uint8))
        place = found[0] if found else (slice(None),) * sample.weight.ndim
        known = sample.weight[place] > 0
        truth = (sample.mask[:, *place[1:]] > 0) & known
        masks = _masks(network, sample.image, device)[..., *place[1:]]
        for k, mask in zip(network.supervised, masks, strict=True):
            cells[sample.kind][f"L{k}"].append(_count(mask & known, truth, known))
    whole = {
        kind: {head: np.concatenate(parts) for head, parts in heads.items()}
        for kind, heads in sorted(cells.items())
    }
    kinds = {kind: {head: iou_of(c) for head, c in heads.items()} for kind, heads in whole.items()}
    names = [f"L{k}" for k in network.supervised]
    together = {name: np.concatenate([heads[name] for heads in whole.values()]) for name in names}
    return Scores({name: iou_of(c) for name, c in together.items()}, kinds, whole)


def iou_of(cells: Cells) -> float:
    """IoU over all cells together."""
    overlap, predicted, true, _ = (int(n) for n in cells.sum(axis=0))
    return PixelCounts(overlap, predicted, true).iou


def _masks(network: UNetPlusPlus, image: NDArray[np.float32], device: Device) -> BoolArray:
    """What each head finds in an image ``(c, *spatial)``: shape ``(head, class, *spatial)``."""
    found = np.empty((len(network.supervised), network.classes, *image.shape[1:]), bool)
    for place in _windows(image.shape[1:]):
        window = torch.from_numpy(image[(None, slice(None), *place)])
        layout = memory_format(network.dims, device.kind)
        window = window.to(device.kind, device.dtype, memory_format=layout)
        with torch.inference_mode():
            for number, logits in enumerate(network.heads(window)):
                found[number][(..., *place)] = (logits[0] > 0).cpu().numpy()
    return found


def _count(mask: BoolArray, truth: BoolArray, known: BoolArray) -> Cells:
    """The cells of a place; masks are ``(class, *spatial)``, known ``(1, *spatial)``."""
    everywhere = np.broadcast_to(known, truth.shape)
    layers = np.stack([mask & truth, mask, truth, everywhere]).sum(axis=1, dtype=np.uint8)
    dims = layers.ndim - 1
    side = CELL[dims]
    padded = np.pad(layers, [(0, 0), *((0, -n % side) for n in layers.shape[1:])])
    blocks = padded.reshape(4, *(k for n in padded.shape[1:] for k in (n // side, side)))
    within = tuple(range(2, 2 * dims + 1, 2))
    counts = blocks.sum(axis=within, dtype=np.int64).reshape(4, -1).T
    return np.asarray(counts[counts[:, 3] > 0])


def _windows(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    side = WINDOW[len(shape)]
    for start in product(*(range(0, length, side) for length in shape)):
        yield tuple(slice(n, n + side) for n in start)
