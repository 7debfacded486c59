"""How to train, and how to fine-tune."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from napari_unetpp.errors import UserError
from napari_unetpp.inference.tiles import halo
from napari_unetpp.network.architecture import Architecture
from napari_unetpp.training.augment import Augmentation

VOLUME_PATCH = 64
"""Side of patches of volumes: most of what L4 feels of its surroundings is nearer than that."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How to train. The defaults are those of the shipped model, tried on its validation set.

    Attributes
    ----------
    steps : int
        Batches at the most. The learning rate falls to 0 at the end of them.
    minutes : float, optional
        Time at the most; whichever of the two limits comes first ends the training.
    patch : two or three int, optional
        Sides of a patch, in the order of the axes; by default see `patch_for`.
    batch : int
        Patches in a step.
    learning_rate, weight_decay : float
        Of AdamW; the rate is reached after `warm_up` steps and then follows a cosine.
    last_rate : float
        The share of the rate that the cosine falls to; with 1 it does not fall, and the mean of the
        weights is what settles.
    warm_up : int
        Steps in which the rate rises.
    averaging : float
        Decay of the running mean of the weights, which is what is validated and kept.
    head_weights : tuple of float, optional
        Weights of the heads in the loss; equal by default, as in the paper.
    frozen_norm : bool
        Batch norms keep the statistics that they have, as for a few images like those before.
    validate_every : int
        Steps between validations.
    validations : int, optional
        Instead: so many, evenly over the time or the steps; fewer where they take too much of a
        limited time.
    patience : int
        Validations without a better score after which the training ends.
    augmentation : Augmentation
        How patches are changed.
    seed : int
        Of everything random. Step n draws the same patches whether or not a run was resumed.
    """

    steps: int = 4000
    minutes: float | None = None
    patch: tuple[int, ...] | None = None
    batch: int = 6
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    last_rate: float = 0.0
    warm_up: int = 100
    averaging: float = 0.998
    head_weights: tuple[float, ...] | None = None
    frozen_norm: bool = False
    validate_every: int = 250
    validations: int | None = None
    patience: int = 12
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises
        ------
        UserError
            If a number is out of range.
        """
        positive = ("steps", "batch", "validate_every", "patience")
        wrong = [name for name in positive if getattr(self, name) <= 0]
        if self.minutes is not None and self.minutes <= 0:
            wrong.append("minutes")
        if self.patch is not None and min(self.patch, default=0) < 1:
            wrong.append("patch")
        if wrong:
            raise UserError(
                f"{wrong[0]} is {getattr(self, wrong[0])}, but must be above 0: give more."
            )
        if not 0 <= self.last_rate <= 1:
            raise UserError(f"last_rate is {self.last_rate}; give a share from 0 to 1.")
        if not 0 <= self.averaging < 1:
            raise UserError(f"averaging is {self.averaging}; give 0 or more, and less than 1.")


def patch_for(depth: int, dims: int = 2) -> tuple[int, ...]:
    """Sides of patches to learn from.

    In planes twice the halo of the deepest head, and a little: 192 for L4 and 128 for L3; no less
    for the heads before, as these are for use, too. In volumes 64: as many voxels as a patch of
    512 × 512, and four times the arithmetic for each.
    """
    if dims == 3:
        return (VOLUME_PATCH,) * 3
    side = max(128, 64 * math.ceil(2 * halo(depth) / 64))
    return side, side


FINETUNE_FIT = FitOptions(
    batch=2,
    learning_rate=2e-3,
    last_rate=1.0,
    warm_up=10,
    averaging=0.98,
    validations=12,
    patience=1000,
    augmentation=Augmentation(scale=1.25, noise=0.03, shading=0.2),
)
"""The training in a fine-tuning: short, on few images that are like those to come."""


STEPS_A_MINUTE = 300
"""At the most, of a fine-tuning on a GPU. A fast one does four times as many, and learns a few
corrected planes by heart: other images get worse again, see `docs/finetune.md`."""


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """How to fine-tune. The defaults gained most per minute, see `docs/finetune.md`.

    Attributes
    ----------
    minutes : float
        Time, all in all.
    steps : int, optional
        Or so many batches, whichever is over first. By default as many as there is time for; on a
        GPU, from a model's weights, `STEPS_A_MINUTE` at the most.
    depth : int, optional
        The deepest head of the new version; those beyond it are given up. By default all on a
        GPU. On a CPU, where deep heads learn too little in two minutes, see `start.depth_on_cpu`.
    start : {"model", "nothing"}
        From the model's weights, or from random ones; the learning rate falls over the time, then.
    architecture : Architecture, optional
        From nothing, another network of the family than the model's.
    widths, heads : tuple of int, optional
        From nothing, other widths than the model's, and which heads; by default all.
    classes : tuple of str, optional
        From nothing, what it finds; by default what the model finds.
    name : str, optional
        From nothing, the name of a model that begins a family of its own: it has no parent, is
        compared with the model but not judged by it, and learns the earlier corrections, too.
    replay : float
        Share of the patches that earlier corrections give, if there are any.
    fit : FitOptions
        The training itself. A model that is nearly right learns at a lower rate, see `gentle`.
    """

    minutes: float = 2.0
    steps: int | None = None
    depth: int | None = None
    start: Literal["model", "nothing"] = "model"
    architecture: Architecture | None = None
    widths: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    classes: tuple[str, ...] | None = None
    name: str | None = None
    replay: float = 0.3
    fit: FitOptions = FINETUNE_FIT

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises
        ------
        UserError
            If a number is out of range.
        """
        if self.minutes <= 0:
            raise UserError(f"minutes is {self.minutes}, but must be above 0: give more.")
        if self.steps is not None and self.steps <= 0:
            raise UserError(f"steps is {self.steps}, but must be above 0: give more.")
        if not 0 <= self.replay < 1:
            raise UserError(f"replay is {self.replay}; give a share from 0 to below 1.")
        another = (self.architecture, self.widths, self.heads, self.classes, self.name)
        if self.start == "model" and any(part is not None for part in another):
            raise UserError(
                "The model's weights fit no other network than its own: start from nothing, or "
                "leave the network as it is."
            )
