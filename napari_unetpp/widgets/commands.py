"""What stands in napari's menus and command palette."""

from __future__ import annotations

from napari.layers import Image
from napari.viewer import Viewer

from napari_unetpp.widgets.dock import SegmentDock
from napari_unetpp.widgets.geometry import is_result

PLUGIN, WIDGET = "napari-unetpp", "UNet++"


def open_dock(viewer: Viewer) -> SegmentDock:
    """The dock of a viewer, opened if it isn't, and brought to the front."""
    around, dock = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    assert isinstance(dock, SegmentDock)
    around.show()
    around.raise_()
    return dock


def segment_active_layer(viewer: Viewer) -> None:
    """Segment the active image layer, as the dock is set."""
    layer = viewer.layers.selection.active
    dock = open_dock(viewer)
    if isinstance(layer, Image) and not is_result(layer):
        dock.segment_panel.image_box.layer = layer
    dock.segment()
