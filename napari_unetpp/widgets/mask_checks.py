"""Whether a labels layer can be the mask of an image."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Labels

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Layout
from napari_unetpp.widgets.geometry import place_like, spanned_axis
from napari_unetpp.widgets.spanning import with_axis


def check_place(layer: Labels, image: Image, layout: Layout, level: int) -> None:
    """Refuse a layer that doesn't lie on its image, or on a level of it, pixel by pixel.

    Raises
    ------
    UserError
        If it has several scales, another shape, or lies elsewhere.
    """
    if layer.multiscale:
        raise UserError(f"{layer.name} has several scales: choose a layer with one, to learn from.")
    check_shape(layer, image, layout)
    place = place_like(image, layout, level)
    for what in ("scale", "translate"):
        wanted = place[what]
        spanned = spanned_axis(image, layout)
        if spanned is not None and layer.ndim < len(wanted):  # a layer of the user's own
            wanted = np.delete(wanted, spanned)
        if not np.allclose(getattr(layer, what), wanted):
            raise UserError(
                f"{layer.name} lies elsewhere than {image.name} (its {what} differs): choose its "
                "image or another layer."
            )


def check_shape(layer: Labels, image: Image, layout: Layout) -> None:
    """Refuse a layer that has another shape than the results of its image.

    Raises
    ------
    UserError
        As it says.
    """
    shape = tuple(layer.data.shape)
    spanning = with_axis(layout.result_shape, spanned_axis(image, layout))
    if shape not in (layout.result_shape, spanning):
        raise UserError(
            f"{layer.name} has shape {shape}, but a mask of {image.name} needs "
            f"{layout.result_shape}: choose its image or another layer."
        )
