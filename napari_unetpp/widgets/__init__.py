"""Qt and napari, nothing else: the dock, the commands, the samples, the demo."""

from napari_unetpp.widgets.demo import run_demo
from napari_unetpp.widgets.dock import SegmentDock

__all__ = ["SegmentDock", "run_demo"]
