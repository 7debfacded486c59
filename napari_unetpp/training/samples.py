"""Images with their masks, and the patches that a network learns from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.files import ImageFile, read_image
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.inference.layout import Dims, Layout
from napari_unetpp.inference.normalise import LUMINANCE, find_limits, normalise
from napari_unetpp.models.spec import ModelSpec, Normalisation
from napari_unetpp.training.labels import class_masks

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One plane or volume to learn from.

    Attributes
    ----------
    image : float32 array
        Shape ``(c, *spatial)``, normalised to [0, 1].
    mask : uint8 array
        Shape ``(classes, *spatial)``, 0 or 1.
    weight : float32 array
        Shape ``(1, *spatial)``: what each pixel counts in the loss; 0 where nothing is known.
    kind : str
        What the image looks like, such as "grey on dark". Rare kinds are drawn more
        often than their share, and validation reports each.
    copies : int
        How many samples show this piece, each in another grey: together they count as one.
    places : tuple of int arrays
        Where patches are drawn around: groups of positions ``(n, dims)``, of which each is taken
        as often as the others. Without any, patches come from everywhere.
    """

    image: FloatArray
    mask: NDArray[np.uint8]
    weight: FloatArray
    kind: str
    copies: int = 1
    places: tuple[NDArray[np.int64], ...] = ()


def load_samples(
    pairs: Iterable[tuple[Path, Path]], spec: ModelSpec, *, stains: int = 0, seed: int = 0
) -> list[Sample]:
    """Read images and labels; every plane is a sample, or for a model of volumes every volume.

    Labels of a model with one class may be instances (all above 0 is the class); with more
    classes the label is the number of the class, from 1.

    Parameters
    ----------
    pairs : iterable of (image file, label file)
        As `find_pairs` gives them. All are kept in memory, with four bytes a pixel and channel.
    spec : ModelSpec
        For which model.
    stains : int
        How many further grey versions of a colour image to add, each with a random weight of red,
        green and blue, so that the model does not depend on the dye.
    seed : int
        For those weights.

    Raises
    ------
    UserError
        If a file can't be read, or labels don't have the shape of their image.
    """
    rng = np.random.default_rng(seed)
    samples: list[Sample] = []
    for image_path, label_path in pairs:
        file, label, layout = read_pair(image_path, label_path, dims=spec.dims)
        greys = [LUMINANCE, *(tuple(rng.dirichlet((2, 3, 1))) for _ in range(stains))]
        to_mix = greys if layout.is_colour and spec.in_channels == 1 else greys[:1]
        mixes = [channels_for(layout, spec.in_channels, grey=grey) for grey in to_mix]
        for index in layout.indices():
            piece = layout.take(file.data, index)
            mask = _mask(layout.result_part(label, index), len(spec.classes))
            samples.extend(
                _sample(mix(piece), mask, layout.is_colour, spec, len(mixes)) for mix in mixes
            )
    return samples


def read_pair(
    image_path: Path, label_path: Path, *, dims: Dims = 2
) -> tuple[ImageFile[NDArray[Any]], NDArray[Any], Layout]:
    """An image, its labels ``(*layout.result_shape)``, and how both are taken apart.

    Raises
    ------
    UserError
        If a file can't be read, the labels don't have the shape of the image, or it has no Z and
        volumes are asked for.
    """
    image, label = read_image(image_path), read_image(label_path)
    layout = Layout.of(image.data, image.axes, dims=dims)
    if label.data.shape != layout.result_shape:
        raise UserError(
            f"{label_path.name} has shape {label.data.shape}, but its image needs labels of "
            f"shape {layout.result_shape}."
        )
    return image, label.data, layout


def draw_probabilities(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """How likely each sample is drawn.

    Kinds are drawn by the cube root of their foreground pixels: between "each pixel alike", with
    which a rare kind is never learnt, and "each kind alike", with which a dozen images are learnt
    by heart. Inside a kind, samples are drawn by the root of their size.
    """
    kinds = np.array([sample.kind for sample in samples])
    copies = np.array([float(sample.copies) for sample in samples])
    foreground = np.array([1.0 + np.count_nonzero(sample.mask) for sample in samples]) / copies
    weights = np.sqrt([float(sample.weight.size) for sample in samples]) / copies
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        weights[of_kind] *= np.cbrt(foreground[of_kind].sum()) / weights[of_kind].sum()
    return np.asarray(weights / weights.sum(), np.float64)


def normalise_channels(
    channels: NDArray[Any], normalisation: Normalisation, *, colour: bool = False
) -> tuple[FloatArray, bool]:
    """A piece ``(c, *spatial)`` as the network sees it, and whether its background was bright."""
    limits = [find_limits(channel, normalisation, colour=colour) for channel in channels]
    image = np.stack([normalise(c, k) for c, k in zip(channels, limits, strict=True)])
    return image, limits[0].inverted


def _sample(
    channels: NDArray[Any], mask: NDArray[np.uint8], is_colour: bool, spec: ModelSpec, copies: int
) -> Sample:
    image, inverted = normalise_channels(channels, spec.normalisation, colour=is_colour)
    kind = "colour" if is_colour else f"grey on {'bright' if inverted else 'dark'}"
    return Sample(image, mask, np.ones((1, *image.shape[1:]), np.float32), kind, copies)


def _mask(labels: NDArray[Any], classes: int) -> NDArray[np.uint8]:
    if classes == 1:
        return np.asarray(labels > 0, np.uint8)[None]
    return class_masks(labels, classes)
