"""Lazy images larger than memory should have to be: peak memory, and time for a megapixel."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import in_child, sample_path, the_model
from benchmarks.memory import field, start
from benchmarks.sheet import Sheet, verdict
from napari_unetpp.files import read_image
from napari_unetpp.inference.options import SegmentOptions

MOST = 1500.0
"""MB above the idle process."""
SLOWER = 1.1
"""Time for a megapixel over that of a plane of 2048²."""


def sheets(*, depth: int = 4, planes: int = 4, more: int = 8, side: int = 8192) -> list[Sheet]:
    """Segment a plane of 2048², a lazy stack of such planes, twice as deep a one, and a lazy plane.

    Parameters
    ----------
    depth : int
        The deepest head.
    planes, more : int
        Planes of the two stacks: memory must not grow from one to the other.
    side : int
        Of the large plane.
    """
    if platform.system() != "Linux":
        return [Sheet("large: left out", ("", ""), [], "Memory is measured on Linux only.")]
    shapes = {
        "2048², in memory": (2048, 2048),
        f"{planes} × 2048², zarr": (planes, 2048, 2048),
        f"{more} × 2048², zarr": (more, 2048, 2048),
        f"{side}², zarr": (side, side),
    }
    rows, base = [], 0.0
    for name, shape in shapes.items():
        seconds, peak = in_child(of_segment, shape, "zarr" in name, depth)
        each = seconds / (np.prod(shape) / 1e6)
        base = base or each
        rows.append(
            (
                name,
                f"{each:.2f}",
                f"{each / base:.2f} (≤ {SLOWER}: {verdict(each / base <= SLOWER)})",
                f"{peak:.0f} (≤ {MOST:.0f}: {verdict(peak <= MOST)})",
            )
        )
    columns = ("image, uint16", "s a megapixel", "over the plane in memory", "peak above idle, MB")
    note = f"To L{depth}, on the CPU. Chunks of 512²; results go where `segment` puts them."
    return [Sheet("large: lazy images", columns, rows, note)]


def of_segment(shape: tuple[int, ...], lazy: bool, depth: int) -> tuple[float, float]:
    """Seconds, and MB at the peak above what was held before; in a child of its own."""
    from napari_unetpp.inference.predict import segment

    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_UNETPP_CACHE"] = folder
        image, model = lazy_mosaic(Path(folder), shape, lazy=lazy), the_model()
        options = SegmentOptions(device="cpu", depth=depth)
        segment(np.zeros((64, 64), np.uint16), model, options=options)  # what is loaded but once
        baseline = start()
        started = time.perf_counter()
        segment(image, model, axes="ZYX"[-len(shape) :], options=options)
        return time.perf_counter() - started, field("VmHWM") - baseline


def lazy_mosaic(folder: Path, shape: tuple[int, ...], *, lazy: bool) -> Any:
    """The fluorescence sample, side by side as often as it takes; on the disk if `lazy`."""
    import zarr

    sample = read_image(sample_path("nuclei")).data
    height, width = shape[-2:]
    wide = np.tile(sample, (1, -(-width // sample.shape[1])))[:, :width]
    if not lazy:
        return np.tile(wide, (-(-height // sample.shape[0]), 1))[:height].copy()
    chunks = (*(1,) * (len(shape) - 2), 512, 512)
    image = zarr.create_array(folder / "image", shape=shape, chunks=chunks, dtype=sample.dtype)
    for index in np.ndindex(*shape[:-2]):
        for top in range(0, height, sample.shape[0]):
            rows = min(sample.shape[0], height - top)
            image[(*index, slice(top, top + rows), slice(None))] = wide[:rows]
    return image
