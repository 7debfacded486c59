"""Turn the event loop, and see what happens meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any

from qtpy.QtCore import QEvent, QEventLoop, QObject, QTimer

PATIENCE = 120.0
"""Seconds, after which something must be wrong."""


class ImportSpy(MetaPathFinder):
    """Sees when, and on which thread, torch begins to be imported."""

    def __init__(self) -> None:
        self.at: float | None = None
        self.thread = ""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname == "torch" and self.at is None:
            self.at = time.perf_counter()
            main = threading.current_thread() is threading.main_thread()
            self.thread = "the GUI thread" if main else "a thread of its own"


class FirstPaint(QObject):
    """An event filter that sees when a widget is painted first."""

    def __init__(self) -> None:
        super().__init__()
        self.at: float | None = None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Paint and self.at is None:
            self.at = time.perf_counter()
        return False


def is_loaded(name: str) -> bool:
    """Whether a module is imported to its end."""
    module = sys.modules.get(name)
    return module is not None and not getattr(module.__spec__, "_initializing", False)


def rest(seconds: float) -> None:
    """Let the window do what it has to do."""
    loop = QEventLoop()
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()


def wait_until(condition: Callable[[], bool], *, patience: float = PATIENCE) -> None:
    """Let the event loop turn until something holds; looked at every few milliseconds."""
    loop, timer, started = QEventLoop(), QTimer(), time.perf_counter()

    def look() -> None:
        if condition() or time.perf_counter() - started > patience:
            loop.quit()

    timer.timeout.connect(look)
    timer.start(5)
    loop.exec()
    timer.stop()
    if not condition():
        raise TimeoutError(f"It did not happen within {patience:.0f} s.")
