"""Which measure of uncertainty finds what is wrong, and whether depth can follow it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import in_child, the_model
from benchmarks.sheet import Sheet
from benchmarks.uncertainty_plot import draw
from napari_unetpp.evaluation.metrics import PixelCounts
from napari_unetpp.evaluation.uncertainty import Uncertainty, by_places
from napari_unetpp.files import find_pairs, read_image
from napari_unetpp.inference.uncertain import entropy

SPLITS = ("val", "test")
PLACE = 16
"""Side of a place, in pixels, as `inference.uncertain` has it."""
LOOKED_AT = 0.05
"""Share of the pixels or places that a person looks at."""
FIRST = 2
"""The head after which a tile may be left."""

Floats = NDArray[np.float32]
Found = dict[str, Any]


def sheets(data: Path, drawing: Path | None = None) -> list[Sheet]:
    """Measure on `dsb2018` in this folder: pixels, places, reliability, and leaving early.

    Parameters
    ----------
    data : Path
        The folder.
    drawing : Path, optional
        An .svg file, for what the last split says.
    """
    found = {split: in_child(measure, data / "dsb2018" / split) for split in SPLITS}
    if drawing is not None:
        draw(found[SPLITS[-1]]["pixels"], drawing, f"dsb2018/{SPLITS[-1]}")
    tables = []
    for split, result in found.items():
        tables += [
            _measures(split, "pixels", result["pixels"]),
            _measures(split, f"places of {PLACE}²", result["places"]),
            _reliability(split, result["pixels"]),
            _adaptive(split, result["images"], result["shares"]),
        ]
    return tables


def measure(folder: Path) -> Found:
    """All images of a split through the shipped model; loads torch."""
    from napari_unetpp.inference.predict import SegmentOptions, segment
    from napari_unetpp.network.cost import multiply_adds

    model = the_model()
    pixels: dict[str, Uncertainty] = defaultdict(Uncertainty)
    places: dict[str, Uncertainty] = defaultdict(Uncertainty)
    images = []
    for image_path, label_path in find_pairs(folder / "images", folder / "labels"):
        image, truth = read_image(image_path), read_image(label_path).data > 0
        options = SegmentOptions(floats=True)
        heads = segment(image.data, model, axes=image.axes, options=options).values[:, 0]
        deepest = heads[-1] >= 0.5
        wrong = deepest != truth
        for name, values in measures_of(heads).items():
            pixels[name] += Uncertainty.of(values, wrong)
            blocks = by_places(values, PLACE)
            # A place counts by how much of it is wrong.
            parts = np.rint(by_places(wrong, PLACE) * PLACE**2).astype(int)
            places[name] += weighted(blocks, parts)
        counts = [PixelCounts.of(head >= 0.5, truth) for head in heads]
        images.append((truth.size, float(np.abs(heads[1] - heads[0]).mean()), counts))
    costs = [multiply_adds(model.network, k) for k in range(1, model.spec.depth + 1)]
    return {
        "pixels": dict(pixels),
        "places": dict(places),
        "images": images,
        "shares": [cost / costs[-1] for cost in costs],
    }


def measures_of(heads: Floats) -> dict[str, Floats]:
    """Measures of uncertainty in [0, 1] of the probabilities ``(head, y, x)`` of one class."""
    mean = heads.mean(axis=0)
    return {
        "disagreement of the heads": 2 * heads.std(axis=0),
        "entropy of the deepest head": entropy(heads[-1]),
        "entropy of the ensemble": entropy(mean),
        "disagreement + entropy of the ensemble": heads.std(axis=0) + entropy(mean) / 2,
    }


def weighted(values: Floats, wrong: NDArray[np.int_]) -> Uncertainty:
    """Counts of places of which each has so many wrong pixels of all that it holds."""
    whole = Uncertainty.of(values, np.zeros(values.shape, bool))
    steps = np.clip(np.rint(values * 255), 0, 255).astype(int)
    counts = np.bincount(steps.ravel(), weights=wrong.ravel(), minlength=256).astype(np.int64)
    return Uncertainty(whole.pixels * PLACE**2, counts)


def _measures(split: str, what: str, found: dict[str, Uncertainty]) -> Sheet:
    rows = [(name, f"{one.area:.3f}", f"{one.found(LOOKED_AT):.1%}") for name, one in found.items()]
    columns = ("measure", "area under the ROC curve", f"of what is wrong, in {LOOKED_AT:.0%}")
    return Sheet(f"uncertainty: wrong {what} of dsb2018/{split}", columns, rows)


def _reliability(split: str, found: dict[str, Uncertainty]) -> Sheet:
    tables = {name: one.reliability() for name, one in found.items()}
    rows = [
        (f"{middle:.2f}", *(f"{tables[name][n][1]:.3f}" for name in tables))
        for n, (middle, _, _) in enumerate(next(iter(tables.values())))
    ]
    return Sheet(f"uncertainty: share of pixels that are wrong, {split}", ("at", *tables), rows)


def _adaptive(split: str, images: list[Any], shares: list[float]) -> Sheet:
    """Leave an image after L2 where L1 and L2 agree; else go on to L4, as nodes are reused."""
    rows = [
        (f"L{k} everywhere", f"{share:.0%}", f"{iou_of([i[2][k - 1] for i in images]):.4f}")
        for k, share in enumerate(shares, start=1)
    ]
    for goes_on in (0.25, 0.5, 0.75):
        limit = np.quantile([image[1] for image in images], 1 - goes_on)
        deep = [image[1] > limit for image in images]
        counts = [i[2][-1] if d else i[2][FIRST - 1] for i, d in zip(images, deep, strict=True)]
        sizes = np.array([image[0] for image in images], float)
        share = float(sizes[deep].sum() / sizes.sum())
        time = shares[FIRST - 1] + share * (1 - shares[FIRST - 1])
        rows.append(
            (
                f"to L4 where L1 and L2 differ most, {goes_on:.0%} of images",
                f"{time:.0%}",
                f"{iou_of(counts):.4f}",
            )
        )
    note = "Arithmetic over that of L4; each image is a tile. IoU over all pixels."
    return Sheet(
        f"uncertainty: adaptive depth, {split}", ("depth", "arithmetic", "IoU"), rows, note
    )


def iou_of(counts: list[PixelCounts]) -> float:
    """Over all images together."""
    total = PixelCounts()
    for one in counts:
        total += one
    return total.iou
