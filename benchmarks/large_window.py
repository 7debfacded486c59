"""Lazy images in a real window: peak memory above the idle viewer."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import in_child
from benchmarks.dock import models, screen
from benchmarks.events import rest, wait_until
from benchmarks.large import MOST, lazy_mosaic
from benchmarks.memory import field, start
from benchmarks.sheet import Sheet, verdict

PATIENCE = 4 * 3600.0
"""Seconds."""


def sheets(*, depth: int = 4, planes: int = 4, side: int = 8192) -> list[Sheet]:
    """Press Segment on a lazy stack of 2048² and on a lazy plane, each in a window of its own.

    Parameters
    ----------
    depth : int
        The deepest head.
    planes : int
        Of the stack.
    side : int
        Of the plane.
    """
    shapes = [(planes, 2048, 2048), (side, side)]
    rows = []
    with screen() as there, models() as folder:
        if not there:
            note = "There is no display, and no Xvfb to make one: install xvfb."
            return [Sheet("large: in a window: left out", ("", ""), [], note)]
        for shape in shapes:
            seconds, idle, early, peak = in_child(measure, shape, depth, folder)
            rows.append(
                (
                    " × ".join(map(str, shape)),
                    f"{seconds / (np.prod(shape) / 1e6):.2f}",
                    f"{idle:.0f}",
                    f"{early - idle:.0f}",
                    f"{peak - idle:.0f} (≤ {MOST:.0f}: {verdict(peak - idle <= MOST)})",
                )
            )
    columns = (
        "image, uint16, zarr",
        "s a megapixel",
        "idle, MB",
        "peak of the first tenth above idle, MB",
        "peak above idle, MB",
    )
    note = (
        f"*Plane* or *stack* to L{depth}, on the CPU, with the heads that the dock shows: all of a "
        "stack, two of a large plane. Idle: the image and the dock are open, and all that a run "
        "needs is imported. Xvfb, drawn by the CPU."
    )
    return [Sheet("large: lazy images in a window", columns, rows, note)]


def measure(
    shape: tuple[int, ...], depth: int, models_folder: str
) -> tuple[float, float, float, float]:
    """Seconds from the click until all is shown; MB held before it, and at two peaks.

    These are that of the first tenth, and that of the whole: memory shouldn't grow with planes.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        os.environ["NAPARI_UNETPP_CACHE"] = str(Path(folder) / "cache")
        if models_folder:
            os.environ["NAPARI_UNETPP_MODELS"] = models_folder
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB")  # napari's colours
        import dask.array as da
        from napari.viewer import Viewer
        from qtpy.QtCore import QTimer
        from qtpy.QtWidgets import QApplication

        image = da.from_zarr(lazy_mosaic(Path(folder), shape, lazy=True))
        viewer = Viewer()
        viewer.window.resize(1600, 1100)
        viewer.add_image(image, name="large", contrast_limits=(0, 4000))
        _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
        rest(8)
        panel = dock.segment_panel
        panel.device_box.setCurrentText("cpu")
        panel.depth_row.value = f"L{depth}"
        panel.where_row.value = "plane" if len(shape) == 2 else "stack"
        rest(1)
        idle, started = start(), time.perf_counter()
        ended: list[bool] = []
        early: list[float] = []

        def on_status(status: Any) -> None:
            if status.fraction >= 0.1 and not early:
                early.append(field("VmHWM"))

        def on_run(run: Any) -> None:
            run.status.connect(on_status)
            run.ended.connect(ended.append)

        dock.session.run_started.connect(on_run)
        panel.button.click()
        wait_until(lambda: bool(ended) and _all_shown(dock), patience=PATIENCE)
        seconds, peak = time.perf_counter() - started, field("VmHWM")
        if ended != [True]:
            raise RuntimeError("The run did not come to its end.")
        viewer.close()
        QTimer.singleShot(0, QApplication.quit)
        QApplication.exec()  # so that it ends as napari does, which waits for what is saved
    return seconds, idle, early[0], peak


def _all_shown(dock: Any) -> bool:
    return dock.results is not None and bool(dock.results.idle)
