"""Which channels of an image a model sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Layout
from napari_unetpp.inference.normalise import LUMINANCE, to_grey

Mix = Callable[[NDArray[Any]], NDArray[Any]]


def channels_for(
    layout: Layout,
    in_channels: int,
    channels: Sequence[int] | None = None,
    grey: tuple[float, ...] = LUMINANCE,
) -> Mix:
    """How to get a model's channels out of a plane or volume.

    Parameters
    ----------
    layout : Layout
        Of the image.
    in_channels : int
        Channels that the model takes.
    channels : sequence of int, optional
        For each channel of the model which of the image; by default all of the image in their
        order, or grey from colour.
    grey : three floats
        Weights of red, green and blue for a colour image and a model of one channel.

    Returns
    -------
    callable
        From ``(c, *spatial)`` to ``(in_channels, *spatial)``.

    Raises
    ------
    UserError
        If the image hasn't the channels that the model takes.
    """
    if channels is not None:
        chosen = list(channels)
        _check(chosen, in_channels, layout.channels)
        return lambda pixels: pixels[chosen]
    if layout.is_colour and in_channels == 1:
        return lambda pixels: to_grey(np.moveaxis(pixels, 0, -1), grey)[None]
    if layout.channels == in_channels:
        return lambda pixels: pixels
    if layout.is_colour and in_channels == 3:
        return lambda pixels: pixels[:3]  # without alpha
    raise UserError(
        f"The image has {layout.channels} channels (axes {layout.axes}) and the model takes "
        f"{in_channels}: {_remedy(layout.channels, in_channels)}."
    )


def _check(chosen: list[int], in_channels: int, there: int) -> None:
    if len(chosen) != in_channels:
        raise UserError(
            f"{len(chosen)} channels are chosen and the model takes {in_channels}: choose one for "
            "each."
        )
    for channel in chosen:
        if not 0 <= channel < there:
            raise UserError(
                f"There is no channel {channel}: the image has {there} channels, from 0 to "
                f"{there - 1}."
            )


def _remedy(there: int, in_channels: int) -> str:
    if in_channels == 1:
        return "choose one of its channels"
    if there > in_channels:
        return "choose which of them it sees"
    return "choose another model or image"
