"""How to train."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_unetpp.errors import UserError
from napari_unetpp.training.augment import Augmentation


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How to train. The defaults are those of the shipped model, tried on its validation set.

    Attributes
    ----------
    steps : int
        Batches at the most. The learning rate falls to 0 at the end of them.
    minutes : float, optional
        Time at the most; whichever of the two limits comes first ends the training.
    patch : (int, int)
        Rows and columns of a patch; twice the halo of L4, 94 pixels, and a little.
    batch : int
        Patches in a step.
    learning_rate, weight_decay : float
        Of AdamW; the rate is reached after `warm_up` steps and then follows a cosine.
    warm_up : int
        Steps in which the rate rises.
    averaging : float
        Decay of the running mean of the weights, which is what is validated and kept.
    head_weights : tuple of float, optional
        Weights of the heads in the loss; equal by default, as in the paper.
    validate_every : int
        Steps between validations.
    patience : int
        Validations without a better score after which the training ends.
    augmentation : Augmentation
        How patches are changed.
    seed : int
        Of everything random. Step n draws the same patches whether or not a run was resumed.
    """

    steps: int = 4000
    minutes: float | None = None
    patch: tuple[int, int] = (192, 192)
    batch: int = 6
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warm_up: int = 100
    averaging: float = 0.998
    head_weights: tuple[float, ...] | None = None
    validate_every: int = 250
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
        if min(self.patch) < 1:
            wrong.append("patch")
        if wrong:
            raise UserError(
                f"{wrong[0]} is {getattr(self, wrong[0])}, but must be above 0: give more."
            )
        if not 0 <= self.averaging < 1:
            raise UserError(f"averaging is {self.averaging}; give 0 or more, and less than 1.")
