"""The planes that fine-tuning is measured on: some to correct, others elsewhere to score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.files import ImageFile, find_pairs, read_image
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.inference.layout import Layout

EM_TEST = range(12, 22)
EM_SECTIONS = (0, 3, 6, 9)
EMBRYO_PLANES = (8, 20, 14, 28)


@dataclass(frozen=True)
class Plane:
    """A plane with its truth."""

    name: str
    image: NDArray[Any]  # (c, y, x)
    truth: NDArray[Any]  # (y, x)
    index: tuple[int, ...]
    stack: ImageFile[NDArray[Any]]  # that it is from


def planes_of(case: str, corrected: int, data: Path, seed: int) -> tuple[list[Plane], list[Plane]]:
    """Planes to correct, and planes elsewhere to score."""
    read: Callable[[Path, int, int], tuple[list[Plane], list[Plane]]]
    read = {
        "em": _em,
        "embryo": _embryo,
        "volume": _embryo,
        "h&e": partial(_bowl, ("histology",)),
        "fluorescence": partial(_bowl, ("fluorescence",)),
        "nuclei": partial(_bowl, ("fluorescence", "histology", "brightfield")),
    }[case]
    return read(data, corrected, seed)


def _em(data: Path, corrected: int, seed: int) -> tuple[list[Plane], list[Plane]]:
    planes = _stack(data / "isbi2012" / "images.tif", data / "isbi2012" / "membranes.tif")
    return [planes[z] for z in EM_SECTIONS[:corrected]], [planes[z] for z in EM_TEST]


def _embryo(data: Path, corrected: int, seed: int) -> tuple[list[Plane], list[Plane]]:
    planes = _stack(data / "embryo3d" / "image.tif", data / "embryo3d" / "nuclei.tif")
    chosen = EMBRYO_PLANES[:corrected]
    near = {z + d for z in EMBRYO_PLANES for d in (-1, 0, 1)}
    return [planes[z] for z in chosen], [p for z, p in enumerate(planes) if z not in near]


def _bowl(
    modalities: Sequence[str], data: Path, corrected: int, seed: int
) -> tuple[list[Plane], list[Plane]]:
    folder = data / "dsb2018"
    rows = [line.split(",") for line in (folder / "index.csv").read_text().splitlines()[1:]]
    ids = {row[1] for row in rows if row[2] in modalities}

    def of(split: str) -> list[Plane]:
        pairs = find_pairs(folder / split / "images", folder / split / "labels")
        return [p for i, t in pairs if i.stem in ids for p in _stack(i, t)]

    if not corrected:
        return [], of("test")
    train = of("train")
    chosen = np.random.default_rng(seed).permutation(len(train))[:corrected]
    return [train[n] for n in chosen], of("test")


def _stack(image_path: Path, truth_path: Path) -> list[Plane]:
    image, truth = read_image(image_path), read_image(truth_path)
    layout = Layout.of(image.data, image.axes)
    mix = channels_for(layout, 1)
    return [
        Plane(
            image_path.stem,
            np.asarray(mix(layout.take(image.data, index))),
            layout.result_part(truth.data, index),
            index,
            image,
        )
        for index in layout.indices()
    ]
