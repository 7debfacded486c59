"""Is the window alive? Beats of a timer on the GUI thread, and what it does when one is late."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import FrameType

from qtpy.QtCore import QObject, Qt, QTimer

EVERY = 5
"""Milliseconds between beats."""
LATE = 0.025
"""Seconds after which the stack of the GUI thread is looked at."""
LOOK_EVERY = 0.008


@dataclass(frozen=True)
class Gap:
    """The time between two beats.

    Attributes
    ----------
    seconds, busy : float
        By the clock, and computing on the GUI thread; the rest it waited for a core or the GIL.
    at : float
        Clock at the first beat.
    cause : str
        What was seen most often on the stack: our function, and the innermost one.
    """

    seconds: float
    busy: float
    at: float
    cause: str


class Heartbeat(QObject):
    """Beats from `start` to `stop`; to be used on the GUI thread."""

    def __init__(self) -> None:
        super().__init__()
        self._beats: list[tuple[float, float]] = []
        self._seen: list[tuple[float, str]] = []
        self._main = threading.get_ident()
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)

    def start(self) -> None:
        """Begin."""
        self._beat()
        self._timer.start(EVERY)
        self._watcher.start()

    def stop(self) -> list[Gap]:
        """End; the gaps, the longest first."""
        self._beat()
        self._timer.stop()
        self._stopped.set()
        self._watcher.join()
        pairs = zip(self._beats, self._beats[1:], strict=False)
        gaps = [
            Gap(end - start, end_busy - busy, start, self._cause(start, end))
            for (start, busy), (end, end_busy) in pairs
        ]
        return sorted(gaps, key=lambda gap: -gap.seconds)

    def _beat(self) -> None:
        self._beats.append((time.perf_counter(), time.thread_time()))

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_EVERY):
            now = time.perf_counter()
            if now - self._beats[-1][0] > LATE:
                self._seen.append((now, described(sys._current_frames()[self._main])))

    def _cause(self, start: float, end: float) -> str:
        seen = Counter(cause for at, cause in self._seen if start < at <= end)
        return seen.most_common(1)[0][0] if seen else "–"


def described(frame: FrameType | None) -> str:
    """Our outermost function on a stack, and the innermost one of all."""
    inner, ours = named(frame), ""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("napari_unetpp."):
            ours = named(frame)
        frame = frame.f_back
    return f"{ours} → {inner}" if ours and ours != inner else inner


def named(frame: FrameType | None) -> str:
    """Module and function of a frame."""
    if frame is None:
        return "–"
    module = frame.f_globals.get("__name__", "?").removeprefix("napari_unetpp.widgets.")
    return f"{module}.{frame.f_code.co_qualname}"
