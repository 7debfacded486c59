"""Nuclei that never were, and the microscope that looks at them.

A scene is drawn in micrometres: nuclei are bent ellipsoids with an uneven outline, in two or three
dimensions by one rule. Every function takes its random generator, so a scene is its seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter
from scipy.ndimage import label as connected_components

Floats = NDArray[np.float64]
Labels = NDArray[np.uint16]
Lengths = tuple[float, ...]  # one per axis, in the order of the axes


@dataclass(frozen=True)
class Kind:
    """A population of nuclei; lengths in µm."""

    count: int
    semi_axes: Lengths  # mean, shortest first
    tone: float = 1.0  # median brightness, or amount of stain
    spread: float = 0.13  # relative standard deviation of each semi-axis
    tone_spread: float = 0.25  # sigma of the log-normal tone
    bend: float = 0.22  # standard deviation; 0 = ellipsoid, 0.5 = kidney
    clustered: float = 0.3  # share that is tried against a neighbour first


@dataclass(frozen=True)
class Nucleus:
    """One bent ellipsoid; the rows of ``frame`` are the directions of its semi-axes."""

    centre: Floats  # µm
    semi_axes: Floats  # µm, shortest first
    frame: Floats
    bend: float
    tone: float

    def radius(self, direction: Floats) -> float:
        """Distance in µm from the centre to the surface along a unit vector."""
        return float(1 / np.linalg.norm(self.frame @ direction / self.semi_axes))


def pixels(length: float, spacing: Lengths) -> Lengths:
    """Convert a length in µm to pixels along each axis."""
    return tuple(length / d for d in spacing)


def size_of(shape: Sequence[int], spacing: Lengths) -> Lengths:
    """Size of a grid in µm."""
    return tuple(n * d for n, d in zip(shape, spacing, strict=True))


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], sigma: Lengths) -> Floats:
    """Gaussian random field, mean 0 and variance 1; ``sigma`` in pixels per axis."""
    field = gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def step(field: Floats, threshold: float, sharpness: float) -> Floats:
    """0 below the threshold and 1 above, with a soft edge."""
    return np.asarray(1 / (1 + np.exp(-sharpness * (field - threshold))))


def random_frame(rng: np.random.Generator, ndim: int) -> Floats:
    """Orthonormal rows, turned at random."""
    return np.asarray(np.linalg.qr(rng.standard_normal((ndim, ndim)))[0])


def populate(
    rng: np.random.Generator,
    extent: Lengths,
    kind: Kind,
    *,
    others: Sequence[Nucleus] = (),
    allowed: Callable[[Floats], bool] = lambda centre: True,
    turn: Callable[[Floats], Floats] | None = None,
) -> list[Nucleus]:
    """Place nuclei that touch but hardly overlap, in a box and a rim around it.

    Parameters
    ----------
    extent
        Size of the box in µm. Gives ``kind.count`` nuclei, rim included, fewer if there is no room.
    others
        Nuclei that are there already.
    allowed
        Whether a centre (µm) may lie there.
    turn
        The frame at a centre (µm); any direction by default.
    """
    size, rim = np.asarray(extent), max(kind.semi_axes)
    placed: list[Nucleus] = []
    for _ in range(60 * kind.count):
        semi_axes = np.sort(kind.semi_axes * rng.normal(1, kind.spread, size.size).clip(0.6, 1.6))
        bend, tone = kind.bend * rng.normal(), kind.tone * rng.lognormal(0, kind.tone_spread)
        centre = rng.uniform(-rim, size + rim)
        if placed and rng.random() < kind.clustered:
            neighbour = placed[rng.integers(len(placed))]
            centre = neighbour.centre + random_frame(rng, size.size)[0] * 2 * semi_axes.mean()
        frame = turn(centre) if turn else random_frame(rng, size.size)
        nucleus = Nucleus(centre, semi_axes, frame, bend, tone)
        if allowed(centre) and not any(overlap(nucleus, other) for other in (*others, *placed)):
            placed.append(nucleus)
        if len(placed) == kind.count:
            break
    return placed


def overlap(a: Nucleus, b: Nucleus, tolerance: float = 0.93) -> bool:
    """Whether two nuclei lie deeper in each other than a touch."""
    offset = b.centre - a.centre
    distance = float(np.linalg.norm(offset)) + 1e-9
    return distance < tolerance * (a.radius(offset / distance) + b.radius(offset / distance))


def rasterise(
    rng: np.random.Generator,
    nuclei: Sequence[Nucleus],
    shape: Sequence[int],
    spacing: Lengths,
    roughness: float = 0.055,
) -> tuple[Labels, Floats]:
    """Draw nuclei on a grid; where two meet, a pixel belongs to the one it lies deeper in.

    Returns
    -------
    labels
        ``index + 1`` of the nucleus that holds a pixel, 0 outside.
    rho
        0 at the centre of that nucleus, 1 at its outline and outside.
    """
    labels, rho = np.zeros(shape, np.uint16), np.ones(shape)
    wobble = roughness * smooth_noise(rng, shape, pixels(1.5, spacing))
    for index, nucleus in enumerate(nuclei, start=1):
        reach = 1.5 * nucleus.semi_axes.max()
        low = np.clip((nucleus.centre - reach) / spacing, 0, shape).astype(int)
        high = np.clip((nucleus.centre + reach) / spacing + 1, 0, shape).astype(int)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        offset = np.moveaxis(np.indices(high - low), 0, -1) + low  # (*window, ndim)
        local = (offset * spacing - nucleus.centre) @ nucleus.frame.T / nucleus.semi_axes
        local[..., 0] += nucleus.bend * (local[..., -1] ** 2 - 0.3)
        distance = np.linalg.norm(local, axis=-1) * (1 + wobble[window])
        nearer = distance < rho[window]
        rho[window][nearer] = distance[nearer]
        labels[window][nearer] = index
    return labels, rho


def tones(labels: Labels, nuclei: Sequence[Nucleus]) -> Floats:
    """Each nucleus's tone at its pixels, 0 outside."""
    return np.array([0.0, *(nucleus.tone for nucleus in nuclei)])[labels]


def chromatin(
    rng: np.random.Generator, shape: Sequence[int], spacing: Lengths, contrast: float = 0.2
) -> Floats:
    """DNA texture around 1: fine grain, coarser clumps, and nucleoli, that hold little DNA."""
    grain = smooth_noise(rng, shape, pixels(0.3, spacing))
    clumps = smooth_noise(rng, shape, pixels(0.8, spacing))
    nucleoli = step(smooth_noise(rng, shape, pixels(0.8, spacing)), 1.9, 6)
    return np.asarray(np.exp(contrast * (0.8 * grain + 0.6 * clumps)) * (1 - 0.5 * nucleoli))


def ground_truth(labels: Labels, smallest: int) -> Labels:
    """Keep the largest piece of each nucleus, if it has ``smallest`` pixels, with ids 1 … n."""
    truth, count = np.zeros_like(labels), 0
    boxes = find_objects(labels)
    for index in np.unique(labels[labels > 0]):
        box = boxes[index - 1]
        pieces = connected_components(labels[box] == index)[0]
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.max() >= smallest:
            count += 1
            truth[box][pieces == 1 + sizes.argmax()] = count
    return truth


def blur(light: Floats, spacing: Lengths, core: Lengths, halo: Lengths, share: float) -> Floats:
    """Point-spread function: a sharp Gaussian, and a wide one with ``share`` of the light.

    ``core`` and ``halo`` are the sigmas in µm per axis.
    """
    sharp = gaussian_filter(light, np.divide(core, spacing))
    wide = gaussian_filter(light, np.divide(halo, spacing))
    return np.asarray((1 - share) * sharp + share * wide)


def illumination(shape: Sequence[int], fall: float) -> Floats:
    """Uneven light over (Y, X): 1 a little off the middle, ``1 - fall`` in the far corner."""
    middle = np.multiply(shape, (0.42, 0.56))
    far = np.maximum(middle, shape - middle)
    distance = np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - middle, axis=-1)
    return np.asarray(1 - fall * (distance / np.linalg.norm(far)) ** 2)


def camera(
    rng: np.random.Generator,
    photons: Floats,
    *,
    gain: float,
    offset: float,
    read_noise: float,
    bits: int,
) -> NDArray[Any]:
    """Photons per pixel as grey values: shot noise, read noise (in grey values), saturation."""
    values = gain * rng.poisson(photons) + rng.normal(offset, read_noise, photons.shape)
    return values.round().clip(0, 2**bits - 1).astype(np.uint8 if bits <= 8 else np.uint16)
