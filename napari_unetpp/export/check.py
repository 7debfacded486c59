"""Whether an exported file gives what the model gives, and how that compares with this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.metrics import PixelCounts
from napari_unetpp.export.graph import ExportedHead, run
from napari_unetpp.export.intensities import normalised, scaled
from napari_unetpp.models.spec import Normalisation

TOLERANCE = 1e-3
"""Largest difference in probability between a file and the head that it was made from."""

Runtime = Callable[[NDArray[np.float32]], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How an export compares on the sample image.

    Attributes
    ----------
    difference : float, optional
        Largest difference in probability between the file, run by the runtime of its format, and
        the head in PyTorch; none if there was no runtime.
    from_package : float
        Largest difference between the head on an image scaled by percentiles alone, and this
        package on the same image.
    iou : float
        Of the masks (from a probability of 0.5) of these two.
    """

    difference: float | None
    from_package: float
    iou: float


def compare(
    head: ExportedHead, runtime: Runtime | None, image: NDArray[Any], normalisation: Normalisation
) -> Agreement:
    """Run the file on an image, and parts of it with odd sides, and compare.

    Parameters
    ----------
    head : ExportedHead
        That the file was made from.
    runtime : callable, optional
        Runs the file on ``(c, *spatial)``.
    image : array
        Intensities ``(c, *spatial)``.
    normalisation : Normalisation
        Of the model.

    Raises
    ------
    UserError
        If the file gives something else than the head.
    """
    given = scaled(image, normalisation)
    found = run(head, given)
    difference = None
    if runtime is not None:
        parts = [given, *_odd_parts(given, 2**head.network.depth)]
        difference = max(_apart(runtime(part), run(head, part)) for part in parts)
        if not difference < TOLERANCE:
            raise UserError(
                f"The exported file gives probabilities that differ by {difference:.2g} from the "
                f"model's (at most {TOLERANCE:g} is allowed), so it isn't written: try other "
                "versions of torch and of the packages in napari-unetpp[export]."
            )
    ours = run(head.plain, normalised(image, normalisation))
    counts = PixelCounts.of(found >= 0.5, ours >= 0.5)
    return Agreement(difference=difference, from_package=_apart(found, ours), iou=counts.iou)


def _odd_parts(image: NDArray[np.float32], step: int) -> list[NDArray[np.float32]]:
    """Parts whose sides are no multiples of anything, and differ from each other."""
    first = [max(side // 2, step) + 2 * axis + 1 for axis, side in enumerate(image.shape[1:])]
    second = [max(side // 3, step) + axis for axis, side in enumerate(image.shape[1:])]
    parts = (image[(slice(None), *map(slice, sides))] for sides in (first, second))
    return [np.ascontiguousarray(part) for part in parts]


def _apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.abs(a - b).max())
