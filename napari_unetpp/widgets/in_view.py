"""Which image is seen where labels are painted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_unetpp.widgets.geometry import is_result

SEE_THROUGH = ("additive", "minimum", "multiplicative")
"""Kinds of blending in which what lies below is seen, too."""


def image_over(layers: Sequence[Layer], labels: Labels, own: Collection[Image]) -> Image | None:
    """The image that is seen under labels in place of their own.

    Parameters
    ----------
    layers : sequence of Layer
        The viewer's; the last one lies on top.
    labels : Labels
        What is painted.
    own : collection of Image
        What it is the mask of.

    Returns
    -------
    Image or None
        None if one of their own is seen, or no other image lies there.
    """
    seen: Image | None = None
    for layer in reversed(layers):
        if not isinstance(layer, Image) or not layer.visible or is_result(layer):
            continue
        if layer in own:
            return seen if seen is not None and not _is_seen_through(seen) else None
        if _lie_together(layer, labels) and (seen is None or _is_seen_through(seen)):
            seen = layer
    return seen


def _is_seen_through(layer: Image) -> bool:
    return layer.opacity < 1 or layer.blending in SEE_THROUGH


def _lie_together(image: Image, labels: Labels) -> bool:
    """Whether rows and columns cover the same place."""
    ours, theirs = (np.asarray(layer.extent.world)[:, -2:] for layer in (image, labels))
    return bool(np.allclose(ours, theirs))
