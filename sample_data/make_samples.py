"""Make the sample images and the ground truth of each: ``python make_samples.py [FOLDER]``.

The labels hold the nuclei in focus. What lies out of focus is drawn, blurred, and not labelled, as
a person who annotates would have it. Needs numpy, scipy, scikit-image and tifffile.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from scipy.spatial import KDTree
from skimage.color import rgb_from_hed
from synthetic import (
    Floats,
    Kind,
    Labels,
    Lengths,
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
    step,
    tones,
)

SEED = 2018


@dataclass(frozen=True)
class Sample:
    """An image, (…, Y, X) or (Y, X, RGB), with instance labels (…, Y, X), 0 = background."""

    image: NDArray[np.uint8 | np.uint16]
    labels: Labels
    spacing: Lengths  # µm per pixel


def fluorescence(rng: np.random.Generator, shape: tuple[int, int] = (512, 680)) -> Sample:
    """DAPI in a cell culture, widefield: (Y, X), 12 bits in uint16."""
    spacing = (0.4, 0.4)
    extent = size_of(shape, spacing)
    nuclei = populate(rng, extent, Kind(count=135, semi_axes=(4.0, 6.0), clustered=0.4))
    condensed = Kind(count=6, semi_axes=(2.4, 3.4), tone=2.2, bend=0.1, tone_spread=0.1)
    nuclei += populate(rng, extent, condensed, others=nuclei)
    ghosts = populate(rng, extent, Kind(count=22, semi_axes=(4.0, 6.0), tone=0.3, tone_spread=0.5))
    labels, rho = rasterise(rng, nuclei, shape, spacing)
    thickness = (1 - rho**2).clip(0) ** 0.35
    light = tones(labels, nuclei) * thickness * chromatin(rng, shape, spacing)
    seen = blur(light, spacing, core=(0.32, 0.32), halo=(5, 5), share=0.12)
    ghost_light = tones(rasterise(rng, ghosts, shape, spacing)[0], ghosts)
    cytoplasm = gaussian_filter((labels > 0).astype(float), pixels(7, spacing))
    cytoplasm *= 1 + 0.2 * smooth_noise(rng, shape, pixels(1.5, spacing))
    seen += gaussian_filter(ghost_light, pixels(2.2, spacing)) + 0.12 * cytoplasm + 0.03
    photons = 250 * seen * illumination(shape, 0.4)
    image = camera(rng, photons, gain=4, offset=100, read_noise=6, bits=12)
    return Sample(image, ground_truth(labels, 40), spacing)


def stack(rng: np.random.Generator, shape: tuple[int, int, int] = (22, 256, 320)) -> Sample:
    """Nuclei in a tissue, confocal: (Z, Y, X) uint8, darker with depth.

    Nuclei go on above and below what is imaged, and shine into it.
    """
    spacing, beyond = (0.5, 0.2, 0.2), 8
    tall = (shape[0] + 2 * beyond, *shape[1:])
    extent = size_of(tall, spacing)
    nuclei = populate(rng, extent, Kind(count=150, semi_axes=(2.6, 3.2, 4.0), clustered=0.6))
    labels, rho = rasterise(rng, nuclei, tall, spacing)
    light = tones(labels, nuclei) * (1 - 0.3 * rho**4) * chromatin(rng, tall, spacing, contrast=0.3)
    seen = blur(light, spacing, core=(0.6, 0.18, 0.18), halo=(2.5, 1.5, 1.5), share=0.2)
    depth = np.arange(shape[0])[:, None, None] * spacing[0]
    light_in = np.exp(-depth / 14) * illumination(shape[1:], 0.3)  # (Z, Y, X)
    photons = 34 * (seen[beyond:-beyond] + 0.02) * light_in
    image = camera(rng, photons, gain=3, offset=6, read_noise=1.0, bits=8)
    return Sample(image, ground_truth(labels[beyond:-beyond], 300), spacing)


def volume(rng: np.random.Generator, shape: tuple[int, int, int] = (40, 160, 184)) -> Sample:
    """Nuclei of an early embryo, light sheet: (Z, Y, X) uint8, few, large, and with much empty.

    Planes are far apart, and the light gets weaker with depth. It is drawn on a finer grid along Z.
    """
    fine, step = (0.4, 0.4, 0.4), 3  # µm, and of its planes every so many are imaged
    tall = (shape[0] * step, *shape[1:])
    extent = size_of(tall, fine)
    nuclei = populate(
        rng,
        extent,
        Kind(count=34, semi_axes=(4.2, 4.8, 5.4), clustered=0.2, bend=0.12),
        allowed=lambda centre: bool(np.linalg.norm((centre / extent - 0.5) * 2) < 1.1),
    )
    dividing = Kind(count=3, semi_axes=(1.8, 4.0, 4.4), tone=2.0, bend=0.1, tone_spread=0.1)
    nuclei += populate(rng, extent, dividing, others=nuclei)
    labels, rho = rasterise(rng, nuclei, tall, fine)
    light = tones(labels, nuclei) * (1 - 0.25 * rho**4) * chromatin(rng, tall, fine, contrast=0.25)
    cytoplasm = gaussian_filter((labels > 0).astype(float), pixels(5, fine))
    light += 0.05 * cytoplasm + 0.02
    seen = blur(light, fine, core=(0.9, 0.28, 0.28), halo=(4, 2, 2), share=0.15)
    depth = np.arange(tall[0])[:, None, None] * fine[0]
    photons = 30 * seen * np.exp(-depth / 45) * illumination(shape[1:], 0.25)
    middle = slice(step // 2, None, step)
    image = camera(rng, photons[middle], gain=3, offset=6, read_noise=1.2, bits=8)
    truth = ground_truth(labels[middle], 100)
    return Sample(image, truth, (step * fine[0], *fine[1:]))


def histology(rng: np.random.Generator, shape: tuple[int, int] = (480, 640)) -> Sample:
    """Section stained with haematoxylin and eosin, brightfield: (Y, X, RGB) uint8."""
    spacing = (0.25, 0.25)
    tissue = Tissue.grow(rng, shape, spacing)
    nuclei, ghosts = section_nuclei(rng, tissue)
    labels, rho = rasterise(rng, nuclei, shape, spacing, roughness=0.07)
    rim = 1 + 0.5 * np.exp(-(((rho - 0.9) / 0.12) ** 2))
    texture = rim * chromatin(rng, shape, spacing, contrast=0.5)
    ghost_stain = tones(rasterise(rng, ghosts, shape, spacing)[0], ghosts)
    shrunk = np.exp(-((distance_transform_edt(labels == 0) / 4) ** 2)) * (labels == 0)
    shrunk *= step(smooth_noise(rng, shape, pixels(4, spacing)), 0.3, 4)
    stains = ground_substance(rng, tissue, nuclei) * (1 - 0.6 * shrunk[..., None])
    stains[..., 0] += tones(labels, nuclei) * texture + gaussian_filter(ghost_stain, 4)
    stains = gaussian_filter(stains, (0.8, 0.8, 0))
    light = 10 ** -(stains @ rgb_from_hed)  # Beer-Lambert, Ruifrok's vectors; (Y, X, RGB)
    white = np.array([0.94, 0.92, 0.94]) * illumination(shape, 0.12)[..., None]
    image = camera(rng, 9000 * light * white, gain=255 / 9000, offset=0, read_noise=0.9, bits=8)
    return Sample(image, ground_truth(labels, 60), spacing)


@dataclass(frozen=True)
class Tissue:
    """The plan of a section, each (Y, X): direction of the fibres, share of stroma, and holes."""

    angle: Floats  # radians from x
    stroma: Floats  # 1 = fibres, 0 = islands of cells
    holes: Floats  # 1 = nothing, glass
    spacing: Lengths

    @classmethod
    def grow(cls, rng: np.random.Generator, shape: tuple[int, int], spacing: Lengths) -> "Tissue":
        """Draw a plan at random."""
        angle = 0.5 + 0.5 * smooth_noise(rng, shape, pixels(25, spacing))
        stroma = step(smooth_noise(rng, shape, pixels(14, spacing)), -0.1, 6)
        ragged = 0.12 * smooth_noise(rng, shape, pixels(1.2, spacing))
        holes = step(smooth_noise(rng, shape, pixels(7, spacing)) + ragged, 1.6, 20)
        return cls(angle, stroma, holes, spacing)

    def at(self, field: Floats, centre: Floats) -> float:
        """Value of a field at a place in µm."""
        inside = np.clip(np.divide(centre, self.spacing), 0, np.subtract(field.shape, 1))
        return float(field[tuple(inside.astype(int))])


def section_nuclei(rng: np.random.Generator, tissue: Tissue) -> tuple[list[Nucleus], list[Nucleus]]:
    """Place nuclei: in focus (vesicular, lymphocytes, spindles along fibres), and out of focus."""
    shape = tissue.stroma.shape
    extent = size_of(shape, tissue.spacing)
    near_hole = gaussian_filter(tissue.holes, pixels(2.5, tissue.spacing))

    def solid(centre: Floats) -> bool:
        return tissue.at(near_hole, centre) < 0.03

    def island(centre: Floats) -> bool:
        return solid(centre) and tissue.at(tissue.stroma, centre) < 0.5

    def fibrous(centre: Floats) -> bool:
        return solid(centre) and tissue.at(tissue.stroma, centre) > 0.6

    def along_fibres(centre: Floats) -> Floats:
        angle = tissue.at(tissue.angle, centre) + rng.normal(0, 0.15)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    vesicular = Kind(count=85, semi_axes=(3.2, 4.2), tone=0.4, clustered=0.3)
    lymphocytes = Kind(count=45, semi_axes=(2.3, 2.7), tone=0.75, bend=0.1, clustered=0.5)
    spindles = Kind(count=45, semi_axes=(1.3, 5.0), tone=0.5)
    out_of_focus = Kind(count=28, semi_axes=(2.2, 3.4), tone=0.25)
    nuclei = populate(rng, extent, vesicular, allowed=island)
    nuclei += populate(rng, extent, lymphocytes, others=nuclei, allowed=solid)
    nuclei += populate(rng, extent, spindles, others=nuclei, allowed=fibrous, turn=along_fibres)
    return nuclei, populate(rng, extent, out_of_focus, allowed=solid)


def ground_substance(rng: np.random.Generator, tissue: Tissue, nuclei: Sequence[Nucleus]) -> Floats:
    """Stain outside nuclei, (Y, X, 3): haematoxylin, eosin, and the brown of haemoglobin.

    Wavy fibres with clefts in the stroma, grainy cytoplasm with cell borders in the islands, and
    red cells in the holes.
    """
    shape, spacing, stroma = tissue.angle.shape, tissue.spacing, tissue.stroma
    bundles = streak(smooth_noise(rng, shape, pixels(0.9, spacing)), tissue.angle, 70)
    fibrils = streak(smooth_noise(rng, shape, pixels(0.25, spacing)), tissue.angle, 24)
    fibres = (0.25 + 0.05 * bundles + 0.04 * fibrils) * (1 - 0.75 * step(bundles, 1.5, 5))
    places = np.moveaxis(np.indices(shape), 0, -1) * spacing
    nearest = KDTree([nucleus.centre for nucleus in nuclei]).query(places, k=2)[0]  # (Y, X, 2)
    border = np.exp(-((np.diff(nearest, axis=-1)[..., 0] / 0.8) ** 2))
    sizes = (0.2, 0.6, 2.0)
    grain = np.sum([smooth_noise(rng, shape, pixels(size, spacing)) for size in sizes], axis=0)
    cytoplasm = 0.13 + 0.022 * grain + 0.09 * border
    filled = 1 - 0.97 * tissue.holes
    eosin = (stroma * fibres + (1 - stroma) * cytoplasm).clip(0) * filled
    haematoxylin = (0.04 + 0.06 * (1 - stroma)) * (1 + 0.15 * grain).clip(0) * filled
    extent = size_of(shape, spacing)
    red_cells = populate(
        rng,
        extent,
        Kind(count=30, semi_axes=(2.6, 3.1), tone=0.42, tone_spread=0.1, clustered=0.6),
        allowed=lambda centre: tissue.at(tissue.holes, centre) > 0.9,
    )
    discs, rho = rasterise(rng, red_cells, shape, spacing)
    red = tones(discs, red_cells) * (0.6 + 0.4 * rho**2) * tissue.holes
    return np.stack([haematoxylin, eosin + red, 0.5 * red], axis=-1)


def streak(field: Floats, angle: Floats, steps: int) -> Floats:
    """Smear a field along directions (line integral convolution), to mean 0 and variance 1."""
    total = field.copy()
    for sign in (-1.0, 1.0):
        y, x = np.indices(field.shape, dtype=float)
        for _ in range(steps // 2):
            here = map_coordinates(angle, (y, x), order=1, mode="nearest")
            y, x = y + sign * np.sin(here), x + sign * np.cos(here)
            total += map_coordinates(field, (y, x), order=1, mode="grid-wrap")
    return np.asarray((total - total.mean()) / total.std())


def write(path: Path, pixel_values: NDArray[Any], spacing: Lengths, axes: str) -> None:
    """Write a TIFF whose axes and pixel size napari and Fiji read, the same bytes every time.

    Fiji reads deflate, but not with a predictor.
    """
    metadata: dict[str, Any] = {"axes": axes, "unit": "um"}
    if "S" not in axes:
        metadata |= {"min": 0, "max": int(np.percentile(pixel_values, 99.9))}  # shown in Fiji
    if "Z" in axes:
        metadata["spacing"] = spacing[0]
    tifffile.imwrite(
        path,
        pixel_values,
        imagej=True,
        resolution=(1 / spacing[-1], 1 / spacing[-2]),
        compression="zlib",
        compressionargs={"level": 9},
        metadata=metadata,
    )


def main(folder: Path) -> None:
    """Write every sample and its labels into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[np.random.Generator], Sample]] = {
        "nuclei": fluorescence,
        "stack": stack,
        "histology": histology,
        "volume": volume,
    }
    for number, (name, make) in enumerate(makers.items()):
        sample = make(np.random.default_rng([SEED, number]))
        axes = "ZYX"[-sample.labels.ndim :]
        channels = "S" * (sample.image.ndim - sample.labels.ndim)
        write(folder / f"{name}.tif", sample.image, sample.spacing, axes + channels)
        write(folder / f"{name}_labels.tif", sample.labels, sample.spacing, axes)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
