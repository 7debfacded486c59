"""*View* on a multiscale image of 20 000² pixels: how soon the first head is on screen."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import in_child, the_model
from benchmarks.dock import models, screen
from benchmarks.events import rest, wait_until
from benchmarks.large import lazy_mosaic
from benchmarks.sheet import Sheet, verdict

MOST = 1.5
"""Times what the bare network needs for as many pixels."""
LEVELS = 5
ROUNDS = 5


@dataclass(frozen=True)
class First:
    """Of a run: the size, pixels of the first tile, seconds from the click and of the network."""

    size: str
    shape: tuple[int, ...]
    shown: float
    bare: float


def sheets(*, side: int = 20_000) -> list[Sheet]:
    """Segment what is on screen at the size shown and at full size, in a window of a child.

    Parameters
    ----------
    side : int
        Of the image at full size, in pixels.
    """
    with screen() as there, models() as folder:
        if not there:
            note = "There is no display, and no Xvfb to make one: install xvfb."
            return [Sheet("view: left out", ("", ""), [], note)]
        runs = in_child(measure, side, folder)
    rows = [
        (
            run.size,
            " × ".join(map(str, run.shape)),
            f"{1e3 * run.shown:.0f}",
            f"{1e3 * run.bare:.0f}",
            f"{run.shown / run.bare:.2f} (≤ {MOST}: {verdict(run.shown / run.bare <= MOST)})",
        )
        for run in runs
    ]
    columns = ("segmented", "first tile", "L1 on screen, ms", "bare network, ms", "ratio")
    note = (
        f"A multiscale zarr of {side}², chunks of 512². From the click until the layer of L1 "
        "is drawn with pixels of the first tile; the model is at hand, as in any run but the first."
    )
    return [Sheet("view: the first head of a large image", columns, rows, note)]


def measure(side: int, folder_of_models: str) -> list[First]:
    """Press Segment in views of several sizes; the first run of all is not measured."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        os.environ["NAPARI_UNETPP_CACHE"] = str(Path(folder) / "cache")
        if folder_of_models:
            os.environ["NAPARI_UNETPP_MODELS"] = folder_of_models
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB")  # napari's colours
        import dask.array as da
        from napari.viewer import Viewer

        full = da.from_zarr(lazy_mosaic(Path(folder), (side, side), lazy=True))
        levels = [full[:: 2**k, :: 2**k].rechunk(512) for k in range(LEVELS)]
        levels[1:] = [level.persist() for level in levels[1:]]
        viewer = Viewer()
        viewer.window.resize(1600, 1100)
        viewer.add_image(levels, multiscale=True, name="slide", contrast_limits=(0, 4000))
        _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
        rest(3)
        panel = dock.segment_panel
        panel.where_row.value = "view"
        _first(dock)
        runs = []
        for zoom, at_full_size in ((0.12, False), (0.5, False), (1.0, True)):
            viewer.camera.zoom = zoom
            viewer.camera.center = (side / 2, side / 2)
            panel.full_size_box.setChecked(at_full_size)
            rest(3)
            runs += [_first(dock)]
        viewer.close()
    return runs


def _first(dock: Any) -> First:
    """Press Segment, and wait until the first tile's L1 is drawn; then cancel the rest."""
    seen: list[Any] = []
    dock.session.run_started.connect(lambda run: run.tile_done.connect(seen.append))
    started = time.perf_counter()
    dock.segment_panel.button.click()

    def is_shown() -> bool:
        """Looked at every few milliseconds, so the pixels, which lie on the disk, are not read."""
        if not seen or dock.results is None or "L1" not in dock.results.layers:
            return False
        return bool(dock.results.layers["L1"].drawn > started)

    wait_until(is_shown)
    shown = time.perf_counter() - started
    size = dock.session.run.job.size.removeprefix(" · at ") if dock.session.run else ""
    dock.session.cancel()
    wait_until(lambda: not dock.running)
    shape = tuple(part.stop - part.start for part in seen[0].region)
    return First(size, shape, shown, _bare(shape))


def _bare(shape: tuple[int, ...]) -> float:
    """Seconds of the network alone to L1, its input at hand; the median of some."""
    import torch

    from napari_unetpp.inference.devices import choose_device, prepared

    device = choose_device("cpu")
    network = prepared(the_model().network, device)
    batch = torch.rand(1, 1, *shape).to(device.dtype, memory_format=torch.channels_last)
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        with torch.inference_mode():
            next(network.heads(batch, 1))
        times.append(time.perf_counter() - started)
    return statistics.median(times)
