"""The answer of the network for an image: a probability for each pixel, head by head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.axes import Index, Planes


@dataclass(frozen=True)
class Heads:
    """Probabilities of heads L1 … Lk for a whole image, filled in while the network runs.

    Attributes
    ----------
    values : uint8 or float32 array
        Shape ``(head, class, *spatial)``; uint8 is the probability times 255, float32 is in
        [0, 1]. 0 where nothing was computed yet.
    planes : Planes
        How the image is taken apart; `spatial` are its `result_axes`.
    """

    values: NDArray[Any]
    planes: Planes

    @classmethod
    def empty(cls, planes: Planes, *, depth: int, classes: int = 1, dtype: Any = np.uint8) -> Heads:
        """Room for the heads of an image; memory is taken as it is filled."""
        return cls(np.zeros((depth, classes, *planes.result_shape), dtype), planes)

    @property
    def depth(self) -> int:
        """The number of the last head."""
        return int(self.values.shape[0])

    @property
    def axes(self) -> str:
        """The spatial axes: those of the image without its channels."""
        return self.planes.result_axes

    @property
    def probabilities(self) -> NDArray[Any]:
        """Shape ``(head, *spatial)``, or ``(head, class, *spatial)`` with several classes."""
        return self.values[:, 0] if self.values.shape[1] == 1 else self.values

    def masks(self, threshold: float = 0.5) -> NDArray[np.uint8]:
        """The mask of each head, shape ``(head, *spatial)``; see `mask_of`."""
        return np.stack([mask_of(head, threshold) for head in self.values])

    def ensemble(self) -> NDArray[Any]:
        """Mean of the heads, ``(class, *spatial)``, as `values` ("accurate mode", TMI 2020)."""
        return mean_of(self.values)

    def disagreement(self) -> NDArray[Any]:
        """How much the heads differ, shape ``spatial``, dtype and range of `values`.

        Twice the standard deviation over the heads: 0 where all say the same, the largest value
        where half are sure of one thing and half of the other. With several classes the largest
        of the classes.
        """
        return disagreement_of(self.values)

    def plane(self, index: Index) -> NDArray[Any]:
        """A view of one plane, shape ``(head, class, y, x)``; writing to it fills the heads."""
        return self.planes.result_plane(self.values, index)


def mask_of(probabilities: NDArray[Any], threshold: float = 0.5) -> NDArray[np.uint8]:
    """Class numbers from probabilities.

    Parameters
    ----------
    probabilities : uint8 or float32 array
        Shape ``(class, *spatial)``; uint8 is the probability times 255.
    threshold : float
        In (0, 1]: a pixel belongs to its most probable class if that reaches it.

    Returns
    -------
    uint8 array
        Shape ``spatial``: 0 is background, class n is n.

    Raises
    ------
    UserError
        If the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"The threshold is {threshold}; give one above 0 and up to 1.")
    limit = threshold * 255 if probabilities.dtype == np.uint8 else threshold
    if probabilities.shape[0] == 1:
        return np.asarray(probabilities[0] >= limit, np.uint8)
    best = probabilities.argmax(axis=0)
    sure = probabilities.max(axis=0) >= limit
    return np.where(sure, best + 1, 0).astype(np.uint8)


def mean_of(values: NDArray[Any]) -> NDArray[Any]:
    """Mean over the heads of any part of `Heads.values`, same dtype."""
    return _like(values, values.mean(axis=0, dtype=np.float32))


def disagreement_of(values: NDArray[Any]) -> NDArray[Any]:
    """See `Heads.disagreement`; of any part of `Heads.values`."""
    return _like(values, (2 * values.std(axis=0, dtype=np.float32)).max(axis=0))


def _like(values: NDArray[Any], result: NDArray[np.float32]) -> NDArray[Any]:
    """Rounded to uint8 if the heads are."""
    return np.asarray(np.rint(result) if values.dtype == np.uint8 else result, values.dtype)
