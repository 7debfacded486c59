"""Load while the user is still looking what takes a second, and not on the GUI thread."""

from __future__ import annotations

import threading
from importlib import import_module
from pathlib import Path

from napari_unetpp.errors import UserError

SLOW = (
    "napari_unetpp.inference.predict",  # torch
    "pandas",  # this and the next are what napari imports for its first labels layer
    "skimage.color.colorconv",
    "skimage.filters.thresholding",  # for the intensities
    "pyqtgraph",  # the learning curve
    "scipy.optimize",  # for the scores of instances
    "zarr",  # for results on the disk
)


def warm_up(model: Path) -> None:
    """Begin to import what a run needs, and to load the model, in a thread of its own."""
    # No daemon: one that is in the middle of an import when Python ends makes it abort.
    threading.Thread(target=_load, args=(model,)).start()


def _load(model: Path) -> None:
    for name in SLOW:
        import_module(name)
    from napari_unetpp.widgets.run import loaded

    try:
        loaded(model)
    except UserError:
        return  # it is told when the model is used
