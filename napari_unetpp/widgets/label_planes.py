"""The planes of a labels layer, with the axes that a result of its image has."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Index, Layout
from napari_unetpp.widgets.geometry import spanned_axis
from napari_unetpp.widgets.mask_checks import check_shape
from napari_unetpp.widgets.result_layer import QUICKLY_COMPARED
from napari_unetpp.widgets.spanning import without_axis


class LabelPlanes:
    """A labels layer, plane by plane: it may be lazy, and large.

    Parameters
    ----------
    layer : Labels
        The layer.
    image : Image
        What it lies on.
    layout : Layout
        How that is taken apart into planes.
    """

    def __init__(self, layer: Labels, image: Image, layout: Layout) -> None:
        self.layout = layout
        self._layer, self._image = layer, image

    @property
    def is_small(self) -> bool:
        """Whether all of it is compared in no time."""
        return prod(self.layout.result_shape) <= QUICKLY_COMPARED

    @property
    def whole(self) -> Any:
        """All that is in the layer."""
        data = self._layer.data
        has_axis = len(data.shape) > len(self.layout.result_shape)
        return without_axis(data, spanned_axis(self._image, self.layout) if has_axis else None)

    @property
    def fit(self) -> bool:
        """Whether the layer still has the shape of a mask of its image."""
        try:
            self.check()
        except UserError:
            return False
        return True

    def check(self) -> None:
        """Refuse a layer that has got another shape meanwhile.

        Raises
        ------
        UserError
            If it has.
        """
        check_shape(self._layer, self._image, self.layout)

    def at(self, index: Index) -> NDArray[Any]:
        """One plane."""
        return np.asarray(self.layout.result_part(self.whole, index))

    def in_words(self, index: Index) -> str:
        """Which plane it is, for the user: like "mask at Z 3"."""
        if not index:
            return str(self._layer.name)
        place = ", ".join(
            f"{axis} {position}"
            for axis, position in zip(self.layout.outer_axes, index, strict=True)
        )
        return f"{self._layer.name} at {place}"
