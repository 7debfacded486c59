"""How far a training is, how fast it learns there, when it is scored, and when it is over."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_unetpp.training.options import FitOptions

VALIDATING = 0.1
"""Share of a limited time that validations may take: on a slow computer there are fewer."""


@dataclass
class Schedule:
    """Steps and seconds of a training so far, and what follows from them.

    Attributes
    ----------
    options : FitOptions
        The budget and the learning rate.
    step : int
        Done.
    seconds : float
        Since the start, earlier runs counted in.
    since_best : int
        Validations after the best one.
    validations : int
        Due so far, of those that are spread evenly over the training.
    validated_at, validation_took : float
        Seconds, of the last validation.
    """

    options: FitOptions
    step: int = 0
    seconds: float = 0.0
    since_best: int = 0
    validations: int = 0
    validated_at: float = 0.0
    validation_took: float = 0.0

    @property
    def progress(self) -> float:
        """From 0 to 1, by steps or by time, whichever is further."""
        return max(self._of_steps, self._of_time)

    @property
    def is_over(self) -> bool:
        """Whether the budget is used up, or nothing got better for long."""
        return self.progress >= 1 or self.since_best >= self.options.patience

    @property
    def is_due(self) -> bool:
        """Whether to validate after this step."""
        if self.progress >= 1:
            return True
        if self.options.validations is None:
            return self.step % self.options.validate_every == 0
        if self._of_time >= self._of_steps:
            rest = self.validation_took * (1 / VALIDATING - 1)
            if self.seconds < self.validated_at + rest:
                return False
        return self.progress * self.options.validations >= self.validations + 1

    @property
    def learning_rate(self) -> float:
        """Of the next step: it rises at the start and falls, if at all, in a cosine."""
        rise = min(1.0, (self.step + 1) / max(1, self.options.warm_up))
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress)))
        last = self.options.last_rate
        return self.options.learning_rate * rise * (last + (1 - last) * fall)

    def count_validations(self) -> None:
        """Those that were due by now; one that took long may have passed the time of the next."""
        self.validations = int(self.progress * (self.options.validations or 0))

    def took(self, seconds: float) -> None:
        """A validation is over, and took so long."""
        self.validation_took = seconds
        self.validated_at = self.seconds + seconds

    @property
    def _of_steps(self) -> float:
        return self.step / self.options.steps

    @property
    def _of_time(self) -> float:
        return self.seconds / 60 / self.options.minutes if self.options.minutes else 0.0
