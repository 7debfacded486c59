"""Does a measure of uncertainty find the pixels that are wrong? Counted, so that images add up."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import block_reduce

LEVELS = 256
"""Values are told apart by so many steps from 0 to 1."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Uncertainty:
    """How many pixels have each value of a measure, and how many of them are wrong.

    Attributes
    ----------
    pixels, wrong : int array
        Shape ``(LEVELS,)``, from sure to uncertain.
    """

    pixels: Counts = field(default_factory=lambda: np.zeros(LEVELS, np.int64))
    wrong: Counts = field(default_factory=lambda: np.zeros(LEVELS, np.int64))

    @classmethod
    def of(cls, values: NDArray[Any], wrong: NDArray[np.bool_]) -> Uncertainty:
        """Count an image.

        Parameters
        ----------
        values : float array
            The measure, any shape, in [0, 1]; 1 is most uncertain.
        wrong : bool array
            The same shape: where the mask is not the truth.
        """
        steps = np.clip(np.rint(values * (LEVELS - 1)), 0, LEVELS - 1).astype(np.intp)
        pixels = np.bincount(steps.ravel(), minlength=LEVELS)
        return cls(pixels, np.bincount(steps[wrong].ravel(), minlength=LEVELS))

    def __add__(self, other: Uncertainty) -> Uncertainty:
        return Uncertainty(self.pixels + other.pixels, self.wrong + other.wrong)

    @property
    def area(self) -> float:
        """Area under the ROC curve: how often a wrong pixel is less sure than a right one.

        From 0.5 (says nothing) to 1; ties count half (Hanley and McNeil, 1982). NaN if nothing is
        wrong, or nothing is right.
        """
        right = self.pixels - self.wrong
        surer = np.cumsum(right) - right
        pairs = float(self.wrong.sum()) * float(right.sum())
        return float((self.wrong * (surer + right / 2)).sum() / pairs) if pairs else float("nan")

    def found(self, share: float) -> float:
        """Which share of what is wrong lies in this share of the pixels, the least sure first."""
        seen = np.concatenate([[0], np.cumsum(self.pixels[::-1])]) / max(self.pixels.sum(), 1)
        wrong = np.concatenate([[0], np.cumsum(self.wrong[::-1])]) / max(self.wrong.sum(), 1)
        return float(np.interp(share, seen, wrong))

    def reliability(self, bins: int = 10) -> list[tuple[float, float, int]]:
        """Of even ranges of the measure: its middle, the share that is wrong, and pixels."""
        edges = np.linspace(0, LEVELS, bins + 1).astype(int).tolist()
        rows = []
        for first, last in pairwise(edges):
            pixels = int(self.pixels[first:last].sum())
            wrong = int(self.wrong[first:last].sum())
            rows.append(((first + last) / 2 / LEVELS, wrong / pixels if pixels else 0.0, pixels))
        return rows


def by_places(values: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Means over blocks of some side, as a person looks at places rather than at pixels."""
    return np.asarray(
        block_reduce(  # type: ignore[no-untyped-call]
            values.astype(np.float32), (side,) * values.ndim, np.nanmean, cval=np.nan
        ),
        np.float32,
    )
