"""Correct, fine-tune, segment, and again: is the window alive, and is the memory given back?"""

from __future__ import annotations

import gc
import os
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import in_child, sample_path
from benchmarks.dock import ALIVE, screen
from benchmarks.events import rest, wait_until
from benchmarks.heartbeat import Gap, Heartbeat
from benchmarks.sheet import Sheet, verdict
from napari_unetpp.files import read_image

SAMPLE = "stack"
GIVEN_BACK = 100.0
"""MB that five fine-tunings in a row may leave behind in the viewer's process."""
STOPPED = 2.0
"""Seconds from Stop to the end."""


@dataclass(frozen=True)
class Turn:
    """One fine-tuning, and the segmentation after it.

    Attributes
    ----------
    sentence : str
        What the gate said.
    steps : int
        Of training.
    memory : float
        MB resident in the viewer's process when all is done and no child is left.
    gap : Gap
        The longest between two beats while it trained.
    """

    sentence: str
    steps: int
    memory: float
    gap: Gap


def sheets(*, turns: int = 5, minutes: float = 0.4) -> list[Sheet]:
    """Fine-tune over and over on a plane of a sample stack, then once more and stop it.

    Parameters
    ----------
    turns : int
        How often.
    minutes : float
        Budget of each.
    """
    with screen() as there:
        if not there:
            note = "There is no display, and no Xvfb to make one: install xvfb."
            return [Sheet("loop: left out", ("", ""), [], note)]
        start, done, stopped = in_child(measure, turns, minutes)
    rows = [("before", "", "", f"{start:.0f}", "", "")]
    for number, turn in enumerate(done, start=1):
        gap = turn.gap
        told = (turn.sentence, str(turn.steps), f"{turn.memory:.0f}")
        rows.append((str(number), *told, f"{1e3 * gap.seconds:.0f}", f"{1e3 * gap.busy:.0f}"))
    left = done[-1].memory - start
    alive = max(turn.gap.seconds for turn in done)
    met = (
        f"Left behind: {left:.0f} MB (≤ {GIVEN_BACK:g}: {verdict(left <= GIVEN_BACK)}). "
        f"Longest gap: {1e3 * alive:.0f} ms (≤ {1e3 * ALIVE:g}: {verdict(alive <= ALIVE)}). "
        f"From Stop to the end: {stopped:.1f} s (≤ {STOPPED:g}: {verdict(stopped <= STOPPED)})."
    )
    columns = ("fine-tuning", "gate", "steps", "MB", "longest gap, ms", "busy, ms")
    return [Sheet("loop: correct, fine-tune, segment the plane again", columns, rows, met)]


def measure(turns: int, minutes: float) -> tuple[float, list[Turn], float]:
    """MB at first, the turns, and how long a stop took."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")  # nobody's preferences
        os.environ["NAPARI_UNETPP_MODELS"] = str(Path(folder) / "models")
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB")  # napari's colours
        from napari.viewer import Viewer

        viewer = Viewer()
        viewer.add_image(read_image(sample_path(SAMPLE)).data, name=SAMPLE)
        _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
        rest(5)
        _segmented(dock, dock.segment_panel.button.click)
        dock.finetune_fold.open()
        _paint(viewer, dock)
        rest(5)
        start, done = memory(), []
        dock.finetune_part.panel.form.minutes_box.setValue(minutes)
        for _ in range(turns):
            done.append(_turn(dock))
        stopped = _stop(dock)
        viewer.close()
    return start, done, stopped


def _turn(dock: Any) -> Turn:
    panel, finetuning = dock.finetune_part.panel, dock.finetune_part.finetuning
    heartbeat = Heartbeat()
    heartbeat.start()
    panel.button.click()
    wait_until(lambda: not dock.finetune_part.running, patience=1200)
    gap = heartbeat.stop()[0]
    result = finetuning.trainer.result
    if result.verdict.outcome != "better":
        _segmented(dock, panel.outcome.keep_button.click)
    else:
        _segmented(dock, lambda: None)
    rest(5)
    return Turn(result.verdict.sentence, result.steps, memory(), gap)


def _stop(dock: Any) -> float:
    """Stop in the middle of a step, after the first version was saved."""
    panel, finetuning = dock.finetune_part.panel, dock.finetune_part.finetuning
    panel.form.minutes_box.setValue(2)
    panel.button.click()
    wait_until(lambda: finetuning.trainer.result is not None, patience=1200)
    rest(0.5)
    started = time.perf_counter()
    panel.button.click()
    wait_until(lambda: not dock.finetune_part.running)
    return time.perf_counter() - started


def _segmented(dock: Any, press: Any) -> None:
    ended: list[bool] = []
    dock.session.run_started.connect(lambda run: run.ended.connect(ended.append))
    press()
    wait_until(lambda: bool(ended) and dock.results is not None and dock.results.idle)


def _paint(viewer: Any, dock: Any) -> None:
    """Correct the plane on screen as a whole."""
    truth = read_image(sample_path(f"{SAMPLE}_labels")).data > 0
    z = int(viewer.dims.current_step[0])
    layer = next(made.layer for key, made in dock.results.layers.items() if key == "L4")
    where = np.nonzero(truth[z] != (layer.data[z] > 0))
    index = (np.full(len(where[0]), z), *where)
    layer.data_setitem(index, truth[z][where].astype(layer.data.dtype))


def memory() -> float:
    """MB resident in this process."""
    import psutil

    gc.collect()
    return float(psutil.Process().memory_info().rss / 1e6)
