"""The normalisation of a model, between what other programs can do and what goes into the graph.

Percentiles are left to the program that runs the graph: bioimage.io's `scale_range` does just that,
over the whole image. A bright background and the gamma of Otsu's threshold can't be told in its
terms, so the graph does them, with operations that every runtime has.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_unetpp.inference.normalise import LARGEST_GAMMA, find_limits, normalise
from napari_unetpp.models.spec import Normalisation

BINS = 256
"""Of the histogram that Otsu's threshold is found on, as in `inference.normalise`."""


class Intensities(nn.Module):
    """From intensities scaled by percentiles to what the network was trained on.

    Parameters
    ----------
    normalisation : Normalisation
        Of the model.
    adapts : bool
        Whether the background and the gamma are told from the intensities. They hold for a whole
        plane or volume; told from a tile, they would change from one to the next, and make objects
        of the noise of an empty one.
    """

    def __init__(self, normalisation: Normalisation, *, adapts: bool) -> None:
        super().__init__()
        self.inverts = normalisation.background == "bright"
        self.finds_background = adapts and normalisation.background == "auto"
        self.bends = adapts and normalisation.gamma == "otsu"

    def forward(self, image: Tensor) -> Tensor:
        """Float32 ``(b, c, *spatial)`` to the same, in [0, 1]; each channel by itself."""
        image = image.clamp(0, 1)
        if self.inverts:
            image = 1 - image
        if self.finds_background:
            # The median is nearer to the high percentile if most pixels are above the middle.
            pixels = (image > 0.5).float().flatten(2).mean(2)
            bright = _like_image(pixels > 0.5, image).float()
            image = bright + (1 - 2 * bright) * image
        if self.bends:
            image = image ** _like_image(otsu_gamma(image), image)
        return image


def otsu_gamma(image: Tensor) -> Tensor:
    """The power that brings Otsu's threshold to 0.5, ``(b, c)``; see `inference.normalise`.

    Written as scikit-image has it, in the same precision, so that it finds the same bin.
    """
    bins = (image.flatten(2) * BINS).long().clamp(0, BINS - 1)
    empty = torch.zeros(image.shape[0], image.shape[1], BINS, dtype=torch.long)
    counts = empty.to(image.device).scatter_add(2, bins, torch.ones_like(bins)).float()
    sums = counts * (torch.arange(BINS, device=image.device) + 0.5) / BINS
    below, above = counts.cumsum(2), counts.flip(2).cumsum(2).flip(2)
    # A count of 0 has a sum of 0; 1 in its place makes the mean 0 rather than 0 / 0.
    mean_below = sums.cumsum(2) / below.clamp(min=1)
    mean_above = sums.flip(2).cumsum(2).flip(2) / above.clamp(min=1)
    apart = (mean_below[..., :-1] - mean_above[..., 1:]) ** 2
    best = (below[..., :-1] * above[..., 1:] * apart).argmax(2)
    gamma: Tensor = math.log(0.5) / ((best + 0.5) / BINS).log()
    return gamma.clamp(1 / LARGEST_GAMMA, LARGEST_GAMMA)


def scaled(image: NDArray[Any], normalisation: Normalisation) -> NDArray[np.float32]:
    """What an exported graph takes: ``(c, *spatial)`` with the percentiles at 0 and 1, clipped."""
    return _normalised(image, normalisation, whole=False)


def normalised(image: NDArray[Any], normalisation: Normalisation) -> NDArray[np.float32]:
    """What the network sees of ``(c, *spatial)`` when this package segments it."""
    return _normalised(image, normalisation, whole=True)


def _normalised(
    image: NDArray[Any], normalisation: Normalisation, *, whole: bool
) -> NDArray[np.float32]:
    channels = []
    for channel in image:
        limits = find_limits(channel, normalisation)
        limits = limits if whole else replace(limits, inverted=False, gamma=1.0)
        channels.append(normalise(channel, limits))
    return np.stack(channels)


def _like_image(per_channel: Tensor, image: Tensor) -> Tensor:
    return per_channel[(..., *(None,) * (image.ndim - 2))]
