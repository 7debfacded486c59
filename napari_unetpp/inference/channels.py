"""Which channels of an image a model sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.axes import Planes
from napari_unetpp.inference.normalise import LUMINANCE, to_grey

Mix = Callable[[NDArray[Any]], NDArray[Any]]


def channels_for(
    planes: Planes,
    in_channels: int,
    channel: int | None = None,
    grey: tuple[float, ...] = LUMINANCE,
) -> Mix:
    """How to get a model's channels out of a plane.

    Parameters
    ----------
    planes : Planes
        Of the image.
    in_channels : int
        Channels that the model takes.
    channel : int, optional
        The channel for a model of one channel.
    grey : three floats
        Weights of red, green and blue for a colour image and a model of one channel.

    Returns
    -------
    callable
        From ``(c, y, x)`` to ``(in_channels, y, x)``.

    Raises
    ------
    UserError
        If the image hasn't the channels that the model takes.
    """
    if channel is not None and in_channels == 1:
        if not 0 <= channel < planes.channels:
            raise UserError(
                f"There is no channel {channel}: the image has {planes.channels} channels, from 0 "
                f"to {planes.channels - 1}."
            )
        return lambda plane: plane[channel : channel + 1]
    if planes.is_colour and in_channels == 1:
        return lambda plane: to_grey(np.moveaxis(plane, 0, -1), grey)[None]
    if planes.channels == in_channels:
        return lambda plane: plane
    if planes.is_colour and in_channels == 3:
        return lambda plane: plane[:3]  # without alpha
    remedy = "choose one of its channels" if in_channels == 1 else "choose another model or image"
    raise UserError(
        f"The image has {planes.channels} channels (axes {planes.axes}) and the model takes "
        f"{in_channels}: {remedy}."
    )
