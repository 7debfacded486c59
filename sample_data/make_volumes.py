"""Make volumes of nuclei to train on: ``python make_volumes.py FOLDER [COUNT] [SEED]``.

Writes FOLDER/images/0000.tif … and FOLDER/labels/0000.tif …, (Z, Y, X) on a grid of 0.5 µm. No two
scenes are alike: from a few nuclei in an empty field, as in an early embryo, to a tissue where
nuclei touch; round, long, bent, condensed and dim ones; sharp and blurred, bright and hardly above
the noise. Each picture is taken with the steps between planes of some microscope, with its noise,
and then brought to the grid as a user's stack would be. Needs what `make_samples.py` needs.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from make_samples import write
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from synthetic import (
    Floats,
    Kind,
    Labels,
    Nucleus,
    blur,
    camera,
    chromatin,
    ground_truth,
    illumination,
    pixels,
    populate,
    rasterise,
    size_of,
    smooth_noise,
    tones,
)

VOXEL = 0.5
"""µm, along each axis."""
SPACING = (VOXEL, VOXEL, VOXEL)
SMALLEST = 60
"""Voxels of a labelled nucleus at least: what is less is the rim of one that lies outside."""
EMPTIEST = 0.006
"""Share of a volume that nuclei take at least."""


@dataclass(frozen=True)
class Optics:
    """How a picture is taken; lengths in µm."""

    lateral: float  # sigma of the point-spread function in Y and X
    axial: float  # and along Z
    halo: float  # share of the light that goes astray
    steps: tuple[float, float, float]  # between samples
    attenuation: float  # depth at which a third of the light is left
    photons: float  # of the brightest
    bits: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Optics":
        """Any microscope: confocal, light sheet, or spinning disc, well or badly adjusted."""
        lateral = rng.uniform(0.12, 0.45)
        plane = rng.uniform(0.3, 0.9)
        return cls(
            lateral=lateral,
            axial=lateral * rng.uniform(1.3, 3.5),
            halo=rng.uniform(0.02, 0.35),
            steps=(float(np.exp(rng.uniform(np.log(0.4), np.log(3.0)))), plane, plane),
            attenuation=float(np.exp(rng.uniform(np.log(12), np.log(200)))),
            photons=float(np.exp(rng.uniform(np.log(12), np.log(400)))),
            bits=int(rng.choice([8, 12, 16])),
        )


def scene(rng: np.random.Generator, shape: tuple[int, ...]) -> list[Nucleus]:
    """Nuclei of a few populations, of one size and density."""
    radius = float(np.exp(rng.uniform(np.log(2.4), np.log(6.5))))
    thin, long = rng.uniform(0.65, 1.0), rng.uniform(1.0, 1.7)
    extent = size_of(shape, SPACING)
    room = np.prod(extent) / (4 / 3 * np.pi * radius**3 * thin * long)
    share = float(np.exp(rng.uniform(np.log(0.04), np.log(0.9))))
    main = Kind(
        count=max(2, min(round(share * room), 140)),
        semi_axes=(radius * thin, radius, radius * long),
        spread=rng.uniform(0.05, 0.22),
        tone_spread=rng.uniform(0.1, 0.5),
        bend=rng.uniform(0, 0.4),
        clustered=rng.uniform(0, 0.8),
    )
    nuclei = populate(rng, extent, main)
    for odds, size, tone in ((0.4, 0.6, 2.5), (0.4, 1.0, 0.4)):  # condensed, and dim ones
        if rng.random() < odds:
            axes = tuple(size * axis for axis in main.semi_axes)
            few = replace(main, count=max(1, main.count // 10), semi_axes=axes, tone=tone)
            nuclei += populate(rng, extent, few, others=nuclei)
    return nuclei


def around(rng: np.random.Generator, labels: Labels) -> Floats:
    """Light that is not of nuclei, (Z, Y, X): haze, cytoplasm, and specks brighter than both."""
    shape = labels.shape
    level = float(np.exp(rng.uniform(np.log(0.005), np.log(0.25))))
    light = level * (1 + 0.4 * smooth_noise(rng, shape, pixels(rng.uniform(2, 8), SPACING))).clip(0)
    if rng.random() < 0.5:
        cells = gaussian_filter((labels > 0).astype(float), pixels(rng.uniform(2, 5), SPACING))
        grain = 1 + 0.3 * smooth_noise(rng, shape, pixels(rng.uniform(0.4, 1.2), SPACING))
        light += rng.uniform(0.05, 0.35) * cells * grain.clip(0)
    if rng.random() < 0.5:
        specks = np.zeros(shape)
        count = rng.integers(3, 40)
        where = tuple(rng.integers(0, n, count) for n in shape)
        specks[where] = rng.uniform(0.2, 1, count)
        spread = rng.uniform(0.5, 1.2)  # voxels
        light += gaussian_filter(specks, spread) * (2 * np.pi * spread**2) ** 1.5 * 1.5
    return np.asarray(light)


def taken(rng: np.random.Generator, light: Floats, optics: Optics) -> NDArray[Any]:
    """The picture of a scene, brought to the grid of the scene, uint8 or uint16."""
    spread = (optics.axial, optics.lateral, optics.lateral)
    halo = tuple(6 * sigma + 1 for sigma in spread)
    seen = blur(light, SPACING, core=spread, halo=halo, share=optics.halo)
    depth = np.arange(light.shape[0])[:, None, None] * VOXEL
    if rng.random() < 0.5:
        depth = depth[::-1]
    seen = seen * np.exp(-depth / optics.attenuation)
    seen = seen * illumination(light.shape[1:], rng.uniform(0, 0.4))
    counts = [max(2, round(n * VOXEL / d)) for n, d in zip(light.shape, optics.steps, strict=True)]
    sampled = resampled(seen, counts)
    full = 2**optics.bits - 1
    photons = optics.photons * sampled.clip(0) / max(np.percentile(sampled, 99.9), 1e-6)
    offset = rng.uniform(0.0, 0.08) * full
    gain = rng.uniform(0.2, 0.9) * (full - offset) / (optics.photons * 1.4)
    noise = rng.uniform(0.2, 2.5) * gain
    image = camera(rng, photons, gain=gain, offset=offset, read_noise=noise, bits=optics.bits)
    back = resampled(image.astype(float), light.shape)
    return np.asarray(back.round().clip(0, full), image.dtype)


def resampled(values: Floats, shape: Any) -> Floats:
    """Linear interpolation to another grid over the same box."""
    factors = [n / m for n, m in zip(shape, values.shape, strict=True)]
    return np.asarray(zoom(values, factors, order=1, mode="nearest", grid_mode=True))


def volume(rng: np.random.Generator) -> tuple[NDArray[Any], Labels]:
    """An image and its labels, (Z, Y, X)."""
    shape = tuple(int(rng.integers(low, high)) for low, high in ((56, 80), (88, 112), (88, 112)))
    filled = 0.0
    while filled < EMPTIEST:
        nuclei = scene(rng, shape)
        labels, rho = rasterise(rng, nuclei, shape, SPACING, roughness=rng.uniform(0, 0.06))
        filled = float((labels > 0).mean())
    hollow = rng.uniform(0, 0.4)
    texture = chromatin(rng, shape, SPACING, contrast=rng.uniform(0.05, 0.45))
    light = tones(labels, nuclei) * (1 - hollow * rho**4) * texture
    light += around(rng, labels) * float(np.median([nucleus.tone for nucleus in nuclei]))
    return taken(rng, light, Optics.draw(rng)), ground_truth(labels, SMALLEST)


def make(folder: Path, seed: int, number: int) -> None:
    """Write one volume and its labels."""
    image, labels = volume(np.random.default_rng([seed, number]))
    write(folder / "images" / f"{number:04}.tif", image, SPACING, "ZYX")
    write(folder / "labels" / f"{number:04}.tif", labels, SPACING, "ZYX")


def main(folder: Path, count: int = 240, seed: int = 3) -> None:
    """Write so many volumes, on all cores."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(make, folder, seed), range(count)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(number) for number in sys.argv[2:]))
