"""Patches that look as the next microscope might show them: moved, turned, scaled, relit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unetpp.training.samples import Sample

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a patch may be changed. Zero or one leaves as it is.

    Attributes
    ----------
    scale : float
        Objects become up to this many times larger or smaller: magnifications differ. Most
        change little and few change much (the exponent is the cube of a uniform number), because
        how far outside the light an outline is drawn hangs on the magnification.
    rotate : bool
        Mirrored, and turned by any angle, because a microscope has no up. Volumes are turned
        about Z alone, along which they are sampled and blurred otherwise, and mirrored there, too.
    sharp : float
        Share of the patches that are mirrored and turned by quarters only, pixel by pixel: between
        pixels noise is averaged away, and a network that never saw it doesn't know what to make
        of it.
    gamma : float
        Exponents from its inverse to it: dyes and cameras differ.
    contrast, brightness : float
        Largest change of the factor and of the offset: percentiles depend on the content.
    noise, blur : float
        Largest standard deviation of noise (image range 1) and of a Gaussian blur (pixels).
    shading : float
        Largest change of intensity from one side of the patch to the other.
    """

    scale: float = 1.6
    rotate: bool = True
    sharp: float = 0.5
    gamma: float = 1.2
    contrast: float = 0.1
    brightness: float = 0.05
    noise: float = 0.05
    blur: float = 1.0
    shading: float = 0.3


@dataclass(frozen=True)
class Patch:
    """A piece of a sample, with the same axes, all float32."""

    image: FloatArray
    mask: FloatArray
    weight: FloatArray


def draw_patch(
    sample: Sample, size: tuple[int, ...], augmentation: Augmentation, rng: np.random.Generator
) -> Patch:
    """A random, augmented patch of spatial `size`; beyond the border the sample is mirrored."""
    patch = _move(sample, size, augmentation, rng)
    return Patch(_relight(patch.image, augmentation, rng), patch.mask, patch.weight)


def _move(
    sample: Sample, size: tuple[int, ...], augmentation: Augmentation, rng: np.random.Generator
) -> Patch:
    sharp = rng.random() < augmentation.sharp
    scale = 1.0 if sharp else augmentation.scale ** (rng.uniform(-1, 1) ** 3)
    matrix = np.eye(len(size))
    if augmentation.rotate:
        matrix = _turn(sharp, len(size), rng)
    matrix /= scale

    # Only the window that the patch comes from is touched: samples may be large.
    middle = (np.asarray(size) - 1) / 2
    reach = np.abs(matrix) @ middle
    shape = np.asarray(sample.image.shape[1:])
    centre = _centre(sample, shape - 1, reach, rng)
    half = reach + 2  # for the interpolation
    window = np.ix_(
        *(
            _mirrored(np.arange(int(c - h), int(c + h) + 2), n)
            for c, h, n in zip(centre, half, shape, strict=True)
        )
    )
    start = np.asarray(centre) - [int(c - h) for c, h in zip(centre, half, strict=True)]
    offset = start - matrix @ middle
    if sharp:
        matrix, offset = np.rint(matrix), np.rint(offset)

    def warp(channels: NDArray[np.generic], order: int) -> FloatArray:
        warped = [
            ndimage.affine_transform(
                channel[window].astype(np.float32),
                matrix,
                offset,
                size,
                order=order,
                mode="nearest",
            )
            for channel in channels
        ]
        return np.stack(warped)

    return Patch(warp(sample.image, 1), warp(sample.mask, 0), warp(sample.weight, 0))


def _turn(sharp: bool, dims: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A turn in the plane of Y and X, by quarters where sharp, after mirroring."""
    angle = float(rng.integers(4) * np.pi / 2 if sharp else rng.uniform(0, 2 * np.pi))
    mirror = rng.choice([-1.0, 1.0])
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.eye(dims)
    matrix[-2:, -2:] = [[cosine, -sine * mirror], [sine, cosine * mirror]]
    if dims == 3:
        matrix[0, 0] = rng.choice([-1.0, 1.0])
    return matrix


def _centre(
    sample: Sample, last: NDArray[np.int64], reach: NDArray[np.float64], rng: np.random.Generator
) -> list[float]:
    """Near one of the sample's places, or anywhere; moved to where the patch fits, else middle."""
    if sample.places:
        group = sample.places[rng.integers(len(sample.places))]
        wanted = group[rng.integers(len(group))] + rng.uniform(-0.5, 0.5, len(last)) * reach
    else:
        wanted = reach + rng.random(len(last)) * (last - 2 * reach)
    return [
        n / 2 if n <= 2 * r else float(np.clip(w, r, n - r))
        for n, r, w in zip(last, reach, wanted, strict=True)
    ]


def _mirrored(positions: NDArray[np.int_], length: int) -> NDArray[np.int_]:
    """Fold positions beyond ``[0, length)`` back inside."""
    period = np.abs(positions) % (2 * length)
    return np.asarray(np.minimum(period, 2 * length - 1 - period))


def _relight(image: FloatArray, augmentation: Augmentation, rng: np.random.Generator) -> FloatArray:
    image = np.clip(image, 0, 1)
    image = image ** (augmentation.gamma ** rng.uniform(-1, 1))
    if augmentation.shading and rng.random() < 0.2:
        places = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in image.shape[1:])
        slopes = rng.uniform(-augmentation.shading, augmentation.shading, image.ndim - 1)
        ramps = (s * place for s, place in zip(slopes, np.ix_(*places), strict=True))
        image = image * sum(ramps, start=np.float32(1))
    if augmentation.blur and rng.random() < 0.1:
        sigma = rng.uniform(0.3, augmentation.blur)
        image = ndimage.gaussian_filter(image, (0, *(sigma,) * (image.ndim - 1)))
    factor = 1 + rng.uniform(-augmentation.contrast, augmentation.contrast)
    image = image * factor + rng.uniform(-augmentation.brightness, augmentation.brightness)
    if augmentation.noise and rng.random() < 0.3:
        sigma = rng.uniform(0, augmentation.noise)
        image = image + rng.standard_normal(image.shape, np.float32) * sigma
    return np.clip(image, 0, 1).astype(np.float32)
