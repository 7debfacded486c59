"""What a user would paint, simulated from the truth: planes, half planes, scribbles, rubbish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from napari_unetpp.training.corrections import Correction
    from napari_unetpp.training.slabs import Slab

Paint = Literal["planes", "half planes", "scribbles", "shifted", "blobs"]
STROKES, STROKE_LENGTH, STROKE_WIDTH = 200, 24, 3
SHIFT = 40
"""Pixels by which rubbish masks are off."""


def painted(
    image: NDArray[Any],
    truth: NDArray[Any],
    predicted: NDArray[Any],
    *,
    name: str,
    index: tuple[int, ...],
    shape: tuple[int, ...],
    paint: Paint,
    rng: np.random.Generator,
    colour: bool,
    slab: Slab | None,
) -> Correction:
    """A correction of a plane ``(c, y, x)`` with masks ``(y, x)``."""
    from napari_unetpp.training.corrections import Source, correct

    truth = (truth > 0).astype(np.uint8)
    source = Source(image=name, shape=shape, index=index, colour=colour)
    if paint == "scribbles":
        labels = _scribbles(truth, rng)
        return correct(image, labels, kind="scribbles", source=source, slab=slab)
    if paint == "shifted":
        truth = np.roll(truth, (SHIFT, SHIFT), (0, 1))
    if paint == "blobs":
        truth = _blobs(truth, rng)
    if paint != "half planes":
        return correct(image, truth, kind="classes", predicted=predicted, source=source, slab=slab)
    labels = predicted.copy()
    half = truth.shape[1] // 2
    labels[:, :half] = truth[:, :half]
    return correct(
        image,
        labels,
        kind="classes",
        trust="margin",
        predicted=predicted,
        source=source,
        slab=slab,
    )


def _scribbles(truth: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Strokes that wander and stay in their class, half of them on objects."""
    labels = np.zeros_like(truth)
    brush = ndimage.generate_binary_structure(2, 1) if STROKE_WIDTH == 3 else None
    for number in range(STROKES):
        of_class = number % 2
        places = np.argwhere(truth == of_class)
        if len(places) == 0:
            continue
        position = places[rng.integers(len(places))].astype(float)
        angle = rng.uniform(0, 2 * np.pi)
        stroke = np.zeros(truth.shape, bool)
        for _ in range(STROKE_LENGTH):
            y, x = np.clip(np.rint(position).astype(int), 0, np.array(truth.shape) - 1)
            if truth[y, x] == of_class:
                stroke[y, x] = True
            else:
                angle += np.pi / 2  # a hand turns at the border
                position -= (np.sin(angle), np.cos(angle))
            angle += rng.normal(0, 0.3)
            position += (np.sin(angle), np.cos(angle))
        wide = ndimage.binary_dilation(stroke, brush) & (truth == of_class)
        labels[wide] = of_class + 1
    return labels


def _blobs(truth: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """As much foreground as the truth has, where chance puts it."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(truth.shape), 8)
    share = np.clip(truth.mean(), 0.05, 0.5)
    return (smooth > np.quantile(smooth, 1 - share)).astype(np.uint8)
