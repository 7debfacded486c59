"""The figures of an evaluation; plain records that become JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_unetpp.evaluation.metrics import InstanceCounts, PixelCounts


@dataclass(frozen=True)
class Cost:
    """What it costs to have the mask of one head.

    Attributes
    ----------
    parameters : int
        Of the network pruned to that head, as it was trained: batch norms count.
    milliseconds_per_megapixel : float
        Time of the network for 10⁶ pixels (voxels) of image.
    memory : int
        Bytes that the network takes for one tile of the size that was timed: counted, not measured.
    """

    parameters: int
    milliseconds_per_megapixel: float
    memory: int


@dataclass(frozen=True)
class Scores:
    """How right masks are, all pixels and all instances of all images in one figure each.

    Attributes
    ----------
    images : int
        How many were looked at.
    iou, dice : float
        Over pixels, 0 to 1.
    f1 : float
        Over instances, matched where their IoU is 0.5 or more; 0 to 1.
    objects : int
        Instances in the labels. Where there are none, the figures above say little.
    """

    images: int
    iou: float
    dice: float
    f1: float
    objects: int


@dataclass(frozen=True)
class HeadResult:
    """One head, or the ensemble of all.

    Attributes
    ----------
    head : str
        "L1", "L2", … or "ensemble".
    scores : Scores
        Of all images.
    groups : dict of str to Scores
        Of each group of images.
    cost : Cost
        See `depths.costs_of`. That of the ensemble is the deepest head's, with the last layers of
        the other heads added.
    """

    head: str
    scores: Scores
    groups: Mapping[str, Scores]
    cost: Cost


@dataclass(frozen=True)
class Evaluation:
    """How good and how fast the heads of a model are.

    Attributes
    ----------
    model, digest : str
        Name and SHA-256.
    device : str
        Where, in words.
    threshold : float
        Probability from which a pixel belongs to a mask.
    heads : tuple of HeadResult
        The shallowest first, the ensemble last.
    """

    model: str
    digest: str
    device: str
    threshold: float
    heads: tuple[HeadResult, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Counts:
    """What scores are made of; add the counts of many images."""

    images: int = 0
    pixels: PixelCounts = field(default_factory=PixelCounts)
    instances: InstanceCounts = field(default_factory=InstanceCounts)

    def __add__(self, other: Counts) -> Counts:
        """The counts of both together."""
        return Counts(
            self.images + other.images,
            self.pixels + other.pixels,
            self.instances + other.instances,
        )

    @property
    def scores(self) -> Scores:
        """As scores."""
        return Scores(
            self.images,
            self.pixels.iou,
            self.pixels.dice,
            self.instances.f1,
            self.instances.true,
        )
