"""What a new dock starts with."""

from __future__ import annotations

import pytest
from napari import settings

from napari_unetpp.widgets import SegmentDock
from napari_unetpp.widgets.preferences import Preferences, read_preferences


def test_the_manifest_and_the_code_have_the_same_defaults():
    assert read_preferences() == Preferences()


@pytest.mark.skipif(
    not hasattr(settings, "get_plugin_settings"), reason="this napari has no plugin settings"
)
def test_a_new_dock_starts_with_what_the_user_prefers(make_napari_viewer, tiny_store):
    page = settings.get_plugin_settings("napari-unetpp")
    before = page.segment.model_dump(), page.viewer.model_dump()
    page.segment.threshold, page.segment.tile, page.segment.depth = 0.7, 512, 2
    page.viewer.shortcuts = False
    try:
        viewer = make_napari_viewer()
        dock = SegmentDock(viewer)
        assert dock.heads_panel.slider.value() == 0.7
        assert dock.segment_panel.tile_box.value() == 512
        assert dock.segment_panel.depth_row.value == "L2"
        viewer.window.add_dock_widget(dock)
        viewer.window.show()
        assert not viewer.keymap
    finally:
        for group, values in zip((page.segment, page.viewer), before, strict=True):
            for name, value in values.items():
                setattr(group, name, value)
