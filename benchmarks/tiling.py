"""How far probabilities depend on the tiling, and which labels flip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import (
    SAMPLES,
    Precision,
    in_child,
    model_in_words,
    mosaic,
    precision_of_cpu,
    precisions,
    sample_path,
    the_model,
    the_spec,
)
from benchmarks.sheet import Sheet
from napari_unetpp.files import read_image
from napari_unetpp.inference.options import SegmentOptions

if TYPE_CHECKING:
    from napari_unetpp.models.file import Model

UNTILED = 1 << 14
STATED = 0.02
"""The tolerance that `segment` states."""
TILES = (128, 256, 384, 512, 768, 1152)
FROM_BFLOAT = "bf16 against fp32, both untiled"


@dataclass(frozen=True)
class Difference:
    """Between two answers of one head for the same image; add those of several images.

    Attributes
    ----------
    largest : float
        Of the differences in probability.
    flips, pixels : int
        Labels that differ at the threshold 0.5, of how many.
    farthest : float
        How far from 0.5 a probability is, at most, whose label flips.
    """

    largest: float = 0.0
    flips: int = 0
    pixels: int = 0
    farthest: float = 0.0

    @classmethod
    def of(cls, found: NDArray[np.float32], expected: NDArray[np.float32]) -> Difference:
        """Compare probabilities of the same shape."""
        flipped = (found >= 0.5) != (expected >= 0.5)
        farthest = np.abs(expected[flipped] - 0.5).max(initial=0)
        largest = np.abs(found - expected).max()
        return cls(float(largest), int(flipped.sum()), flipped.size, float(farthest))

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            max(self.largest, other.largest),
            self.flips + other.flips,
            self.pixels + other.pixels,
            max(self.farthest, other.farthest),
        )


def sheets(*, tiles: Sequence[int] = TILES, height: int = 1181, width: int = 1303) -> list[Sheet]:
    """Tiled against untiled, for each head, tile size and precision.

    Parameters
    ----------
    tiles : sequence of int
        Largest sides of tiles, in pixels.
    height, width : int
        Of the mosaic that is made of a sample, for tiles that are larger than the samples.
    """
    found = in_child(measure, in_child(precisions), tiles, (height, width))
    return [_sheet(precision, rows) for precision, rows in found.items()]


def measure(
    wanted: Sequence[Precision], tiles: Sequence[int], large: tuple[int, int]
) -> dict[str, dict[str, list[Difference]]]:
    """The differences by precision, then by tile size, then by head."""
    model = the_model()
    found: dict[str, dict[str, list[Difference]]] = defaultdict(dict)
    for image, axes in images(large):
        references = []
        for precision in wanted:
            reference = _probabilities(image, axes, model, precision, UNTILED)
            references.append(reference)
            for tile in tiles:
                if worth(tile, image, axes):
                    tiled = _probabilities(image, axes, model, precision, tile)
                    _add(found[precision], f"{tile}", tiled, reference)
        if len(references) > 1:
            _add(found[FROM_BFLOAT], "untiled", references[1], references[0])
    return dict(found)


def images(large: tuple[int, int]) -> list[tuple[NDArray[Any], str]]:
    """The samples and the mosaic with their axes, of sizes that nothing divides."""
    cropped = []
    for name in SAMPLES:
        image = read_image(sample_path(name))
        data = image.data[len(image.data) // 2] if "Z" in image.axes else image.data
        cropped.append((data[:-3, :-3], image.axes.replace("Z", "")))
    return [*cropped, (mosaic(*large), "YX")]


def worth(tile: int, image: NDArray[Any], axes: str) -> bool:
    """Whether the image has several tiles of this size, and not so many that it takes long."""
    longest = max(image.shape[axes.index("Y")], image.shape[axes.index("X")])
    return longest / 5.5 < tile < longest and (longest < 1000 or tile >= 512)


def _probabilities(
    image: NDArray[Any], axes: str, model: Model, precision: Precision, tile: int
) -> NDArray[np.float32]:
    from napari_unetpp.inference.predict import segment

    options = SegmentOptions(device="cpu", tile=tile, floats=True)
    with precision_of_cpu(precision):
        return segment(image, model, axes=axes, options=options).values


def _add(
    rows: dict[str, list[Difference]],
    key: str,
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
) -> None:
    new = [Difference.of(*heads) for heads in zip(found, expected, strict=True)]
    old = rows.get(key, [Difference()] * len(new))
    rows[key] = [a + b for a, b in zip(old, new, strict=True)]


def _sheet(precision: str, found: dict[str, list[Difference]]) -> Sheet:
    rows = []
    for tile, heads in sorted(found.items(), key=lambda item: item[0].rjust(8)):
        cells = (f"{d.largest:.4f}, {d.flips}, {d.farthest:.4f}" for d in heads)
        rows.append((tile, f"{heads[0].pixels / 1e6:.2f}", *cells))
    heads_of = (f"L{k}" for k in range(1, the_spec().depth + 1))
    return Sheet(
        f"tiling: {precision}" + ("" if precision == FROM_BFLOAT else ", tiled against untiled"),
        ("tile", "megapixels", *heads_of),
        rows,
        "Largest difference in probability, labels that flip, and how far from 0.5 the farthest of "
        f"these was. Sample images and a mosaic of one; {model_in_words()}. Stated: ≤ {STATED}.",
    )
