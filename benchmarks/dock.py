"""The dock: how soon it is there, how soon the first mask is, and whether the window is alive."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from benchmarks.common import in_child, mosaic, the_model
from benchmarks.heartbeat import EVERY, Gap
from benchmarks.sheet import Sheet, verdict
from benchmarks.window import Opening, RunTimes, measure
from napari_unetpp.models import DEFAULT_MODEL, Store

SOON = 1.0
"""Seconds for the dock to open."""
FIRST_MASK = 0.20
"""Share of the whole run in which the first mask is there."""
ALIVE = 0.1
"""Seconds that the event loop may be blocked."""


def sheets(*, size: int = 1024) -> list[Sheet]:
    """Open the dock and segment three times, in a window of a child process.

    Parameters
    ----------
    size : int
        Side of the plane, in pixels; one tile at the most.
    """
    with screen() as there, models() as folder:
        if not there:
            note = "There is no display, and no Xvfb to make one: install xvfb."
            return [Sheet("dock: left out", ("", ""), [], note)]
        opening, runs = in_child(measure, mosaic(size, size), folder)
    return [_opening(opening), _runs(size, runs), _gaps(opening, runs)]


@contextmanager
def screen() -> Iterator[bool]:
    """A display for child processes, if there is or can be one."""
    if platform.system() != "Linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        yield True
        return
    if (xvfb := shutil.which("Xvfb")) is None:
        yield False
        return
    reading, writing = os.pipe()
    command = [xvfb, "-displayfd", str(writing), "-screen", "0", "1600x1200x24"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        try:
            with os.fdopen(reading) as pipe:
                number = pipe.readline().strip()
            display = {"DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"}
            with mock.patch.dict(os.environ, display):
                yield bool(number)
        finally:
            server.terminate()


@contextmanager
def models() -> Iterator[str]:
    """A folder with a model for the dock where none is shipped; else an empty name."""
    if Store().is_shipped(DEFAULT_MODEL):
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder:
        in_child(save_random, folder)
        yield folder


def save_random(folder: str) -> None:
    """Save the random weights as a model; loads torch."""
    from napari_unetpp.models.file import save_model

    model = the_model()
    save_model(model.network, model.spec, Path(folder) / f"{DEFAULT_MODEL}.safetensors")


def _opening(opening: Opening) -> Sheet:
    torch = "not at all"
    if opening.torch_began is not None:
        torch = f"after {opening.torch_began:.2f} s, on {opening.torch_thread}"
    rows = [
        (
            f"opened and painted, s (goal ≤ {SOON:g})",
            f"{opening.painted:.2f}",
            verdict(opening.painted <= SOON),
        ),
        ("of which the call, s", f"{opening.called:.2f}", ""),
        (
            "torch: import begun (goal: not on the GUI thread)",
            torch,
            verdict("GUI" not in opening.torch_thread),
        ),
        ("torch: imported when painted", "yes" if opening.torch_at_paint else "no", ""),
        ("all that a run needs is imported, s", f"{opening.ready:.2f}", ""),
    ]
    note = "The first time in this process, 1.5 s after napari's window came; nothing of "
    return Sheet(
        "dock: opening it",
        ("", "measured", "met"),
        rows,
        note + "napari_unetpp was imported before.",
    )


def _runs(size: int, runs: dict[str, RunTimes]) -> Sheet:
    rows: list[tuple[str, ...]] = []
    last = max(event for event in next(iter(runs.values())).times if event.endswith(" shown"))
    for event in next(iter(runs.values())).times:
        cells = []
        for run in runs.values():
            seconds, whole = run.times.get(event), run.times[last]
            cells.append("–" if seconds is None else f"{seconds:.2f} s, {seconds / whole:.0%}")
        rows.append((event, *cells))
    shares = [run.times["L1 shown"] / run.times[last] for run in runs.values()]
    met = (verdict(share <= FIRST_MASK) for share in shares)
    rows.append((f"first mask within {FIRST_MASK:.0%}", *met))
    note = f"From the click; share of the time to '{last}'. The first run loads the model's file."
    return Sheet(f"dock: a run on {size} × {size}", ("event", *runs), rows, note)


def _gaps(opening: Opening, runs: dict[str, RunTimes]) -> Sheet:
    phases = {"after opening, while torch is imported": opening.gaps}
    phases |= {f"run: {name}": run.gaps for name, run in runs.items()}
    rows = [
        (phase if number == 0 else "", *_gap(gap))
        for phase, gaps in phases.items()
        for number, gap in enumerate(gaps)
    ]
    note = (
        f"The three longest of each; a timer of {EVERY} ms. Busy: computing on the GUI thread; the "
        "rest of a gap it waited for a core or Python's lock. Seen: our outermost function on the "
        "stack → the innermost one; events.wait_until is the event loop itself (Qt)."
    )
    columns = ("gap between beats", "ms", "busy, ms", f"met (≤ {1e3 * ALIVE:.0f})", "seen")
    return Sheet("dock: is the window alive", columns, rows, note)


def _gap(gap: Gap) -> tuple[str, str, str, str]:
    met = verdict(gap.seconds <= ALIVE)
    return f"{1e3 * gap.seconds:.0f}", f"{1e3 * gap.busy:.0f}", met, gap.cause
