"""The dock in a real napari window; to be called in a fresh process with a screen.

Nothing of napari_unetpp is imported at the top: opening the dock for the first time imports it,
and that is part of what is measured.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.events import FirstPaint, ImportSpy, is_loaded, rest, wait_until
from benchmarks.heartbeat import Gap, Heartbeat

THINNED = slice(None, None, 8)
"""Rows and columns that are compared, so that looking doesn't hold the window up."""


@dataclass(frozen=True)
class Opening:
    """How the dock came.

    Attributes
    ----------
    called, painted : float
        Seconds until the call that opens it came back, and until it was painted first.
    torch_began : float or None
        Seconds until somebody began to import torch; None if nobody did.
    torch_thread : str
        The thread that did.
    torch_at_paint : bool
        Whether torch was imported to its end when the dock was painted.
    ready : float
        Seconds until all that a run needs was imported.
    gaps : list of Gap
        From the opening to `ready`, without the opening itself.
    """

    called: float
    painted: float
    torch_began: float | None
    torch_thread: str
    torch_at_paint: bool
    ready: float
    gaps: list[Gap]


@dataclass(frozen=True)
class RunTimes:
    """A run: seconds from the click to each event, and the longest gaps."""

    times: dict[str, float]
    gaps: list[Gap]


def measure(image: NDArray[Any], models: str) -> tuple[Opening, dict[str, RunTimes]]:
    """Open napari with an image, then the dock, then segment three times.

    Parameters
    ----------
    image : array
        One plane, small enough to be one tile.
    models : str
        Folder of further models; empty for the user's own.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")  # nobody's preferences
        if models:
            os.environ["NAPARI_UNETPP_MODELS"] = models
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB")  # napari's colours
        from napari.viewer import Viewer

        viewer = Viewer()
        viewer.add_image(image, name="plane")
        rest(1.5)
        dock, opening = opened(viewer)
        rest(0.5)
        runs = {"first, new layers": one_run(dock)}
        rest(0.5)
        runs["second, the same layers"] = one_run(dock)
        rest(0.5)
        dock.segment_panel.tile_box.setValue(2048)  # another setting, thus new layers
        runs["third, new layers"] = one_run(dock)
        viewer.close()
    return opening, runs


def opened(viewer: Any) -> tuple[Any, Opening]:
    """Open the dock as napari's menu does."""
    assert not any(name.startswith("napari_unetpp") for name in sys.modules)
    assert "torch" not in sys.modules
    spy, paint = ImportSpy(), FirstPaint()
    sys.meta_path.insert(0, spy)
    started = time.perf_counter()
    _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
    called = time.perf_counter() - started
    dock.widget().installEventFilter(paint)
    dock.widget().update()  # should it have been painted already
    heartbeat = Heartbeat()
    heartbeat.start()
    wait_until(lambda: paint.at is not None)
    at_paint = is_loaded("torch")
    wait_until(lambda: is_loaded("napari_unetpp.inference.predict") and is_loaded("pandas"))
    ready = time.perf_counter() - started
    sys.meta_path.remove(spy)
    began = None if spy.at is None else spy.at - started
    assert paint.at is not None
    gaps = heartbeat.stop()
    return dock, Opening(called, paint.at - started, began, spy.thread, at_paint, ready, gaps[:3])


def one_run(dock: Any) -> RunTimes:
    """Press Segment, and wait until every head is computed and shown."""
    times: dict[str, float] = {}
    started = 0.0

    def note(event: str) -> None:
        times.setdefault(event, time.perf_counter() - started)

    def follow(run: Any) -> None:
        run.ready.connect(lambda ready: note("model ready"))
        run.tile_done.connect(lambda event: note(f"L{event.head} computed"))
        run.ended.connect(lambda complete: note("ended"))

    def done() -> bool:
        for key in dock.results.head_keys if dock.results is not None else ():
            if f"{key} computed" in times and f"{key} shown" not in times and is_shown(dock, key):
                note(f"{key} shown")
        return "ended" in times and dock.results is not None and dock.results.idle

    heartbeat = Heartbeat()
    heartbeat.start()
    dock.session.run_started.connect(follow)
    started = time.perf_counter()
    dock.segment_panel.button.click()
    wait_until(done)
    dock.session.run_started.disconnect(follow)
    return RunTimes(times, heartbeat.stop()[:3])


def is_shown(dock: Any, key: str) -> bool:
    """Whether a layer holds the whole mask of its head, and napari was told to draw it."""
    from napari_unetpp.inference.heads import mask_of

    made = dock.results.layers.get(key)
    if made is None or made.stale:
        return False
    values = dock.results.heads.values[int(key.removeprefix("L")) - 1][..., THINNED, THINNED]
    expected = mask_of(values, dock.results.threshold)
    return np.array_equal(made.layer.data[..., THINNED, THINNED], expected)
