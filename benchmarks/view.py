"""*View* on a multiscale image of 20 000² pixels: how soon the first head is on screen."""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import in_child, sample_path, the_model
from benchmarks.dock import models, screen
from benchmarks.events import rest, wait_until
from benchmarks.large import lazy_mosaic
from benchmarks.sheet import Sheet, verdict
from napari_unetpp.files import read_image
from napari_unetpp.inference.layout import Region, inside

MOST = 1.5
"""Times what the bare network needs for as many pixels."""
LEVELS = 5
REPEATS = 5
VIEWS = ((0.12, False), (0.5, False), (1.0, True))
"""Zoom, and whether it is segmented at full size."""


@dataclass(frozen=True)
class First:
    """Of a run: what was segmented, and seconds, of the first tile or of the whole view.

    Attributes
    ----------
    shape : tuple of int
        Pixels of L1 that are shown.
    shown : float
        From the click until these are on screen.
    drawing : float
        That napari needs to show as many pixels of a layer of this size, without us.
    bare : float
        Of the network alone, to L1, for as many pixels.
    drawn_by : str
        What draws, as OpenGL names it.
    """

    name: str
    shape: tuple[int, ...]
    shown: float
    drawing: float
    bare: float
    drawn_by: str


def sheets(*, side: int = 20_000, rounds: int = 3) -> list[Sheet]:
    """Segment what is on screen at the size shown and at full size, in a window of a child.

    Parameters
    ----------
    side : int
        Of the image at full size, in pixels.
    rounds : int
        How often; the medians are shown.
    """
    with screen() as there, models() as models_folder, tempfile.TemporaryDirectory() as folder:
        if not there:
            note = "There is no display, and no Xvfb to make one: install xvfb."
            return [Sheet("view: left out", ("", ""), [], note)]
        pyramid = _pyramid(Path(folder), side)
        runs = [
            run
            for _ in range(rounds)
            for zoom, at_full_size in VIEWS
            for run in in_child(measure, pyramid, models_folder, zoom, at_full_size)
        ]
    rows = []
    for name in dict.fromkeys(run.name for run in runs):
        found = [run for run in runs if run.name == name]
        ratio = statistics.median(run.shown / run.bare for run in found)
        beside = statistics.median(run.shown / (run.bare + run.drawing) for run in found)
        rows.append(
            (
                name,
                " × ".join(map(str, found[0].shape)),
                *(
                    f"{1e3 * statistics.median(getattr(run, what) for run in found):.0f}"
                    for what in ("shown", "bare", "drawing")
                ),
                f"{ratio:.2f} (≤ {MOST}: {verdict(ratio <= MOST)})",
                f"{beside:.2f}",
            )
        )
    columns = (
        "segmented",
        "pixels",
        "L1 on screen, ms",
        "bare network, ms",
        "drawing alone, ms",
        "over the network",
        "over network and drawing",
    )
    note = (
        f"A multiscale zarr of {side}², chunks of 512². From the click until a frame with L1 of "
        "the first tile, or of all the view, is on screen; the model is at hand, as in any run but "
        "the first. Drawing alone: a labels layer of this size is added in napari, filled and "
        f"drawn, with nothing else going on. Medians of {rounds} rounds. Drawn by "
        f"{runs[0].drawn_by}."
    )
    return [Sheet("view: the first head of a large image", columns, rows, note)]


def _pyramid(folder: Path, side: int) -> list[Path]:
    """The levels of an image, the finest first; made once for all windows."""
    lazy_mosaic(folder, (side, side), lazy=True)
    return [folder / "image", *(in_child(_level, folder, number) for number in range(1, LEVELS))]


def _level(folder: Path, number: int) -> Path:
    import dask.array as da

    full, path = da.from_zarr(folder / "image"), folder / f"level {number}"
    full[:: 2**number, :: 2**number].rechunk(512).to_zarr(path)
    return path


def measure(
    pyramid: Sequence[Path], models_folder: str, zoom: float, at_full_size: bool
) -> list[First]:
    """Press Segment in a view, in a window of its own.

    Nothing is removed in it: software OpenGL (Mesa 22.3) doesn't survive that two labels layers
    over a multiscale image go and another one comes, in napari alone, either.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        os.environ["NAPARI_UNETPP_CACHE"] = str(Path(folder) / "cache")
        if models_folder:
            os.environ["NAPARI_UNETPP_MODELS"] = models_folder
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB")  # napari's colours
        import dask.array as da
        from napari.viewer import Viewer

        viewer = Viewer()
        viewer.window.resize(1600, 1100)
        viewer.add_image(read_image(sample_path("nuclei")).data, name="small")
        _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
        rest(3)
        dock.segment_panel.depth_row.value = "L1"
        dock.segment_panel.button.click()  # what is loaded but once
        wait_until(lambda: dock.results is not None and not dock.running)
        dock.segment_panel.depth_row.value = "L4"
        levels = [da.from_zarr(path) for path in pyramid]
        slide = viewer.add_image(levels, multiscale=True, name="slide", contrast_limits=(0, 4000))
        viewer.camera.zoom = zoom
        viewer.camera.center = (levels[0].shape[0] / 2, levels[0].shape[1] / 2)
        panel = dock.segment_panel
        panel.image_box.layer = slide
        panel.where_row.value = "view"
        panel.full_size_box.setChecked(at_full_size)
        rest(2)
        name = f" at {100 * zoom:.0f} %"
        runs = _first(viewer, dock, name)
        viewer.close()
    return runs


def _first(viewer: Any, dock: Any, name: str) -> list[First]:
    """Press Segment, and wait until L1 of the first tile, and of all, is on screen; then cancel."""
    regions: list[Region] = []
    shown: list[float] = []  # L1 of the first tile, and of all the view
    started = time.perf_counter()

    def view() -> Region:
        region: Region = dock.session.run.job.options.region
        return region

    def on_tile(event: Any) -> None:
        if event.head == 1:
            regions.append(event.region)

    def on_frame() -> None:
        """A frame is on screen: what is in it?"""
        first = dock.results.layers["L1"] if regions else None
        if first is None or first.stale or first.drawn < started:
            return
        if not shown or (len(shown) == 1 and _covers(regions, view())):
            shown.append(time.perf_counter() - started)

    dock.session.run_started.connect(lambda run: run.tile_done.connect(on_tile))
    frames = _frames(viewer)
    frames.connect(on_frame)
    dock.segment_panel.button.click()
    whole, size = view(), dock.session.run.job.size.removeprefix(" · at ")
    wait_until(lambda: bool(shown) and (len(shown) == 2 or regions[0] == whole))
    frames.disconnect(on_frame)
    dock.session.cancel()
    wait_until(lambda: not dock.running)
    layer, found = dock.results.layers["L1"].layer, []
    for seconds, what, region in zip(
        shown, (" · first tile", " · all"), (regions[0], whole), strict=False
    ):
        shape = tuple(part.stop - part.start for part in region)
        drawing = _drawing(viewer, layer, region)
        found.append(
            First(f"{size}{name}{what}", shape, seconds, drawing, _bare(shape), _drawn_by(viewer))
        )
    return found


def _covers(regions: list[Region], view: Region) -> bool:
    seen = np.zeros([part.stop - part.start for part in view], bool)
    for region in regions:
        seen[inside(region, view)] = True
    return bool(seen.all())


def _frames(viewer: Any) -> Any:
    """The signal that a frame of napari's canvas is on screen."""
    return viewer.window._qt_viewer.canvas._scene_canvas.native.frameSwapped


def _drawn_by(viewer: Any) -> str:
    from vispy.gloo import gl

    viewer.window._qt_viewer.canvas._scene_canvas.set_current()
    return str(gl.glGetParameter(gl.GL_RENDERER))


def _drawing(viewer: Any, like: Any, region: tuple[slice, ...]) -> float:
    """Seconds that napari takes to add a layer like another, and to show a region of it."""
    frames: list[float] = []
    signal = _frames(viewer)

    def note() -> None:
        frames.append(time.perf_counter())

    signal.connect(note)
    shapes = [level.shape for level in like.data] if like.multiscale else [like.data.shape]
    levels = [np.zeros(shape, np.uint8) for shape in shapes]
    from napari.layers import Labels

    layer = Labels(
        levels if like.multiscale else levels[0],
        name="alone",
        multiscale=like.multiscale,
        colormap=like.colormap,
        opacity=like.opacity,
        scale=like.scale,
        translate=like.translate,
    )
    gc.collect()  # which takes a quarter of a second, and would come sooner or later
    began = time.perf_counter()
    viewer.layers.append(layer)
    wait_until(lambda: bool(frames))
    adding = frames[0] - began
    rest(0.5)
    frames.clear()
    for number, level in enumerate(levels):
        level[tuple(slice(part.start >> number, part.stop >> number) for part in region)] = 1
    began = time.perf_counter()
    layer.refresh(thumbnail=False, extent=False, highlight=False)
    wait_until(lambda: bool(frames))
    drawing = frames[0] - began
    signal.disconnect()
    return adding + drawing


def _bare(shape: tuple[int, ...]) -> float:
    """Seconds of the network alone to L1, its input at hand; the median of some."""
    import torch

    from napari_unetpp.inference.devices import choose_device, prepared

    device = choose_device("cpu")
    network = prepared(the_model().network, device)
    batch = torch.rand(1, 1, *shape).to(device.dtype, memory_format=torch.channels_last)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        with torch.inference_mode():
            next(network.heads(batch, 1))
        times.append(time.perf_counter() - started)
    return statistics.median(times)
