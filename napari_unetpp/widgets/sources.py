"""The layers that make up the image which a model sees: one, or several as its channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from napari.layers import Image, Layer

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import ArrayLike, overview_among
from napari_unetpp.inference.merged import MeanImage, StackedImages
from napari_unetpp.widgets.geometry import image_data, is_result


@dataclass(frozen=True)
class Sources:
    """One layer, or several that lie on one another.

    Attributes
    ----------
    layers : tuple of Image
        Each is a channel, unless there are weights.
    weights : tuple of float, optional
        How much of each there is in their mean, which is then the image.
    """

    layers: tuple[Image, ...]
    weights: tuple[float, ...] | None = None

    @property
    def are_channels(self) -> bool:
        """Whether the image has an axis for them, as its first."""
        return len(self.layers) > 1 and self.weights is None

    @property
    def names(self) -> list[str]:
        """Of the layers."""
        return [layer.name for layer in self.layers]

    def axes(self, axes: str) -> str:
        """Those of the image, for layers that have `axes`."""
        return "C" + axes if self.are_channels else axes

    def pixels(self, level: int = 0) -> ArrayLike:
        """The image, lazy if it is of several layers; of multiscale ones a level."""
        found = [image_data(layer, level) for layer in self.layers]
        if self.weights is not None:
            return MeanImage(found, self.weights)
        return StackedImages(found) if self.are_channels else found[0]

    def overview(self, level: int, axes: str) -> ArrayLike | None:
        """A coarser level that tells the intensities of an image with `axes`, if there is one."""
        first = self.layers[0]
        coarser = range(level + 1, len(first.data)) if first.multiscale else ()
        return overview_among(map(self.pixels, coarser), axes)


def mean_as_shown(layers: tuple[Image, ...]) -> Sources:
    """The mean of layers, each as bright in it as on screen: over the width of its contrast."""
    widths = [float(np.ptp(layer.contrast_limits)) for layer in layers]
    return Sources(layers, tuple(1 / width if width > 0 else 1.0 for width in widths))


def single_channels(layers: Iterable[Layer]) -> list[Image]:
    """The image layers that could be a channel: no colour, and nothing that the dock made."""
    return [
        layer
        for layer in layers
        if isinstance(layer, Image) and not layer.rgb and not is_result(layer)
    ]


def check_match(image: Image, other: Image) -> None:
    """Refuse a layer whose pixels don't lie on those of an image.

    Raises
    ------
    UserError
        That says in what it differs.
    """
    if difference := _difference(image, other):
        raise UserError(
            f"{other.name} doesn't lie on {image.name} pixel by pixel ({difference}): hide it, or "
            "choose another layer as a channel."
        )


def matches(image: Image, other: Image) -> bool:
    """Whether the pixels of two layers lie on one another."""
    return not _difference(image, other)


def _difference(image: Image, other: Image) -> str:
    ours, theirs = (_shapes(layer) for layer in (image, other))
    if ours != theirs:
        return (
            f"its shape is {theirs[0]} rather than {ours[0]}"
            if ours[0] != theirs[0]
            else ("its levels have other shapes")
        )
    for what in ("scale", "translate", "rotate", "shear"):
        if not np.allclose(getattr(image, what), getattr(other, what)):
            return f"its {what} differs"
    if not np.allclose(image.affine.affine_matrix, other.affine.affine_matrix):
        return "its affine differs"
    return "" if image.units == other.units else "its units differ"


def _shapes(layer: Image) -> list[tuple[int, ...]]:
    levels = list(layer.data) if layer.multiscale else [layer.data]
    return [tuple(int(n) for n in level.shape) for level in levels]
