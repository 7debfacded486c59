"""Volumes: time and memory of each head, and how good they are beside planes one by one."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.common import Floats, in_child, sample_path
from benchmarks.memory import field, start
from benchmarks.sheet import Sheet
from napari_unetpp.files import read_image

SIDES = (64, 128)
TILES, UNTILED = (96, 128), 1 << 12


def sheets(
    *, model: str = "nuclei3d", data: Path | None = None, side: int | None = None
) -> list[Sheet]:
    """Each head on cubes, and if there is a volume with its truth, scores on that.

    Parameters
    ----------
    model : str
        For volumes; name or file.
    data : Path, optional
        Folder with `embryo3d`.
    side : int, optional
        Of one cube, in place of `SIDES`.
    """
    rows = []
    for length in SIDES if side is None else (side,):
        for depth in range(1, 5):
            seconds, peak = in_child(of_cube, model, length, depth)
            rows.append((f"{length}³", f"L{depth}", f"{seconds:.2f}", f"{peak:.0f}"))
    cubes = Sheet(
        "volumes: one run to each head, CPU",
        ("cube", "head", "s", "peak above idle, MB"),
        rows,
        "As `segment` does it, tiles and all; a child of its own for each.",
    )
    found = [cubes, in_child(_tiled, model)]
    return found if data is None else [*found, in_child(_scores, model, data / "embryo3d")]


def of_cube(model: str, side: int, depth: int) -> tuple[float, float]:
    """Seconds, and MB at the peak above what was held before; in a child of its own."""
    import numpy as np

    from napari_unetpp.inference.options import SegmentOptions
    from napari_unetpp.inference.predict import segment
    from napari_unetpp.models import load_model

    network = load_model(model)
    options = SegmentOptions(device="cpu", depth=depth)
    rng = np.random.default_rng(0)
    segment(rng.random((16, 16, 16)), network, axes="ZYX", options=options)
    image, baseline = rng.random((side, side, side), np.float32), start()
    started = time.perf_counter()
    segment(image, network, axes="ZYX", options=options)
    return time.perf_counter() - started, field("VmHWM") - baseline


def _tiled(model: str) -> Sheet:
    from napari_unetpp.inference.options import SegmentOptions, pixel_size_along
    from napari_unetpp.inference.predict import segment
    from napari_unetpp.models import load_model

    network, image = load_model(model), read_image(sample_path("volume"))
    size = pixel_size_along(image.pixel_size.lengths, 3)

    def values(tile: int) -> Floats:
        options = SegmentOptions(device="cpu", tile=tile, floats=True, pixel_size=size)
        return segment(image.data, network, axes=image.axes, options=options).values[:, 0]

    whole, rows = values(UNTILED), []
    for tile in TILES:
        tiled = values(tile)
        for number, (one, other) in enumerate(zip(tiled, whole, strict=True), start=1):
            flipped = (one >= 0.5) != (other >= 0.5)
            unsure = abs(other - 0.5) < 0.05
            largest = f"{abs(one - other).max():.4f}"
            flips = (str(flipped.sum()), str((flipped & ~unsure).sum()))
            rows.append((f"{tile}", f"L{number}", largest, *flips))
    return Sheet(
        "volumes: tiled against untiled, the sample volume on the grid of the model",
        ("tile", "head", "largest difference", "flips", "of sure voxels"),
        rows,
    )


def _scores(model: str, folder: Path) -> Sheet:
    from napari_unetpp.evaluation.evaluate import evaluate
    from napari_unetpp.models import load_model

    rows = []
    for name in (model, "nuclei"):
        pairs = [(folder / "image.tif", folder / "nuclei.tif")]
        for head in evaluate(pairs, load_model(name)).heads:
            scores = head.scores
            figures = (scores.iou, scores.dice, scores.f1)
            rows.append((Path(name).stem, head.head, *(f"{figure:.3f}" for figure in figures)))
    return Sheet(
        "volumes: embryo3d, the model for volumes beside that for planes",
        ("model", "head", "IoU", "Dice", "F1"),
        rows,
        "F1 of instances, in the volume for the one, plane by plane for the other.",
    )
