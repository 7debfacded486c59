"""Import while the user is still looking what takes a second, and not on the GUI thread."""

from __future__ import annotations

import threading
from importlib import import_module

SLOW = (
    "napari_unetpp.inference.predict",  # torch
    "pandas",  # napari imports it for the first labels layer
)


def warm_up() -> None:
    """Begin to import what a run needs, in a thread of its own."""
    threading.Thread(target=lambda: [import_module(name) for name in SLOW], daemon=True).start()
