"""How right masks are: IoU and Dice over pixels, F1 over instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of a mask against the truth; add the counts of many images for one figure over all.

    Attributes
    ----------
    overlap : int
        Pixels in both.
    predicted, true : int
        Pixels in the mask, and in the truth.
    """

    overlap: int = 0
    predicted: int = 0
    true: int = 0

    @classmethod
    def of(cls, mask: NDArray[Any], truth: NDArray[Any]) -> PixelCounts:
        """Count two arrays of one shape; every value but 0 is foreground."""
        mask, truth = np.asarray(mask) != 0, np.asarray(truth) != 0
        overlap = np.count_nonzero(mask & truth)
        return cls(int(overlap), int(np.count_nonzero(mask)), int(np.count_nonzero(truth)))

    def __add__(self, other: PixelCounts) -> PixelCounts:
        """The counts of both together."""
        return PixelCounts(
            self.overlap + other.overlap,
            self.predicted + other.predicted,
            self.true + other.true,
        )

    @property
    def iou(self) -> float:
        """Intersection over union, 0 to 1; 1 if both are empty."""
        union = self.predicted + self.true - self.overlap
        return self.overlap / union if union else 1.0

    @property
    def dice(self) -> float:
        """Twice the overlap over the sum, 0 to 1; 1 if both are empty."""
        total = self.predicted + self.true
        return 2 * self.overlap / total if total else 1.0


@dataclass(frozen=True)
class InstanceCounts:
    """Instances found, missed and invented; add the counts of many images."""

    matched: int = 0
    predicted: int = 0
    true: int = 0

    @classmethod
    def of(
        cls, instances: NDArray[Any], truth: NDArray[Any], threshold: float = 0.5
    ) -> InstanceCounts:
        """Match instances one to one where their IoU reaches `threshold`.

        Parameters
        ----------
        instances, truth : int array
            One shape; 0 is background, every other number an instance.
        threshold : float
            Smallest IoU of a match, in (0, 1]. As many pairs as possible are matched.
        """
        predicted, true = _ranks(instances), _ranks(truth)
        table = sparse.coo_array(
            (np.ones(true.size), (predicted.ravel(), true.ravel())),
            shape=(int(predicted.max(initial=0)) + 1, int(true.max(initial=0)) + 1),
        ).tocsr()
        sizes = [np.asarray(table.sum(axis)).ravel() for axis in (1, 0)]
        overlap = table[1:, 1:].tocoo()
        rows, columns = overlap.coords
        union = sizes[0][rows + 1] + sizes[1][columns + 1] - overlap.data
        good = overlap.data / union >= threshold
        matched = _matching(rows[good], columns[good])
        return cls(matched, sizes[0].size - 1, sizes[1].size - 1)

    def __add__(self, other: InstanceCounts) -> InstanceCounts:
        """The counts of both together."""
        return InstanceCounts(
            self.matched + other.matched,
            self.predicted + other.predicted,
            self.true + other.true,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0 to 1; 1 if there is and was found nothing."""
        total = self.predicted + self.true
        return 2 * self.matched / total if total else 1.0


def _ranks(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Labels renumbered 0, 1, 2, … with the background kept at 0."""
    values, ranks = np.unique(np.asarray(labels), return_inverse=True)
    ranks = ranks.reshape(np.shape(labels)).astype(np.int64)
    return ranks if values.size and values[0] == 0 else ranks + 1


def _matching(rows: NDArray[Any], columns: NDArray[Any]) -> int:
    """The largest number of pairs that share no row and no column."""
    from scipy.optimize import linear_sum_assignment  # here, as the dock is opened without it

    if rows.size == np.unique(rows).size == np.unique(columns).size:
        return int(rows.size)  # always so above a threshold of 0.5
    row_ids, rows = np.unique(rows, return_inverse=True)
    column_ids, columns = np.unique(columns, return_inverse=True)
    cost = np.zeros((row_ids.size, column_ids.size))
    cost[rows, columns] = -1
    return int(-cost[linear_sum_assignment(cost)].sum())
