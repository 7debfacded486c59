"""What stands in napari's menus and command palette."""

from __future__ import annotations

from napari.layers import Image
from napari.utils.notifications import show_error
from napari.viewer import Viewer

from napari_unetpp.widgets.dock import SegmentDock

PLUGIN, WIDGET = "napari-unetpp", "UNet++"


def open_dock(viewer: Viewer) -> SegmentDock:
    """The dock of a viewer, opened if it isn't."""
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    assert isinstance(dock, SegmentDock)
    return dock


def segment_active_layer(viewer: Viewer) -> None:
    """Segment the active image layer, as the dock is set."""
    layer = viewer.layers.selection.active
    dock = open_dock(viewer)
    if isinstance(layer, Image):
        dock.segment_panel.image_box.layer = layer
    elif layer is not None and dock.segment_panel.image is None:
        show_error(f"{layer.name} is no image layer: select one to segment it.")
        return
    dock.segment()
