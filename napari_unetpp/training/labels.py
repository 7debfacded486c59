"""What a user's labels say about each pixel: its class, and whether it is known at all."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError

LabelKind = Literal["classes", "instances", "scribbles"]
"""Numbers of classes; numbers of objects of one class; or 0 = unknown, 1 = background, 2 … =
classes from the first."""
LABEL_KINDS: tuple[LabelKind, ...] = ("classes", "instances", "scribbles")

MOST_CLASSES = 32
"""More numbers than this are taken for instances, not for classes that someone painted."""

ByteArray = NDArray[np.uint8]


def read_labels(labels: NDArray[Any], kind: LabelKind) -> tuple[ByteArray, NDArray[np.bool_]]:
    """Class and knowledge of each pixel of a plane.

    Parameters
    ----------
    labels : int or bool array
        Shape ``(y, x)``, not negative.
    kind : {"classes", "instances", "scribbles"}
        What the numbers mean.

    Returns
    -------
    uint8 array, bool array
        Both ``(y, x)``: the class, 0 for background, and whether it is known. Where instances
        touch, the pixels on both sides of the border count as background, so that the network
        learns to keep them apart.

    Raises
    ------
    UserError
        If the labels are no numbers of the kind.
    """
    _check_whole(labels)
    if kind == "instances":
        return _apart(labels), np.ones(labels.shape, bool)
    largest = int(labels.max(initial=0)) - (kind == "scribbles")
    if largest > MOST_CLASSES:
        raise UserError(
            f"The labels go up to {largest}, and {MOST_CLASSES} classes are the most: if they are "
            "objects, say that they are instances."
        )
    if kind == "scribbles":
        return np.maximum(labels.astype(np.int16) - 1, 0).astype(np.uint8), labels > 0
    return labels.astype(np.uint8), np.ones(labels.shape, bool)


def guess_kind(labels: NDArray[Any], classes: int) -> LabelKind:
    """Instances if there are more numbers than a model's classes and a new one, else classes.

    Give all planes at once: one of them may show few of many objects.

    Raises
    ------
    UserError
        If the labels are no whole numbers from 0.
    """
    _check_whole(labels)
    return "instances" if int(labels.max(initial=0)) > classes + 1 else "classes"


def class_masks(classes: NDArray[Any], count: int) -> ByteArray:
    """One mask a class, shape ``(count, *spatial)``, from class numbers of shape ``spatial``."""
    numbers = np.arange(1, count + 1).reshape(-1, *(1,) * classes.ndim)
    return np.asarray(classes[None] == numbers, np.uint8)


def _check_whole(labels: NDArray[Any]) -> None:
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise UserError(
            f"The labels are numbers of type {labels.dtype}, but must be whole: use a labels layer."
        )
    if labels.size and labels.min() < 0:
        raise UserError("The labels have negative numbers: use 0 for background and 1, 2 … above.")


def _apart(labels: NDArray[Any]) -> ByteArray:
    mask = labels > 0
    for axis in (0, 1):
        ahead = [slice(None), slice(None)]
        behind = [slice(None), slice(None)]
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        a, b = labels[tuple(ahead)], labels[tuple(behind)]
        touch = (a != b) & (a > 0) & (b > 0)
        mask[tuple(ahead)] &= ~touch
        mask[tuple(behind)] &= ~touch
    return np.asarray(mask, np.uint8)
