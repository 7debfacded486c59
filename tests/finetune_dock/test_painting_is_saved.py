"""What is painted is on the disk, at the latest when the dock is closed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hands import (
    SHAPE,
    press,
    settle,
    stroke,
)
from qtpy.QtCore import Qt


def by_brush(layer: Any) -> None:
    stroke(layer, 10, 12)


def by_fill(layer: Any) -> None:
    layer.fill((10, 12), 1 - int(layer.data[10, 12]))


def by_assignment(layer: Any) -> None:
    layer.data_setitem((np.array([10, 11]), np.array([12, 12])), 1 - layer.data[10:12, 12])


def by_new_data(layer: Any) -> None:
    layer.data = 1 - layer.data


@pytest.mark.parametrize("edit", [by_brush, by_fill, by_assignment, by_new_data])
def test_edits_are_saved_by_themselves(qtbot, dock, segmented, saved, edit):
    layer = segmented()
    predicted = layer.data.copy()
    edit(layer)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    qtbot.waitUntil(
        lambda: "1 plane corrected" in dock.finetune_part.panel.corrected_label.text(),
        timeout=10_000,
    )
    (correction,) = saved()
    np.testing.assert_array_equal(correction.image[0], dock.segment_panel.image.data)
    np.testing.assert_array_equal(correction.classes, layer.data)
    np.testing.assert_array_equal(correction.wrong, layer.data != predicted)
    assert correction.known.all()
    assert correction.source.image == "cells"


def test_undo_back_to_the_prediction_takes_the_correction_away(qtbot, dock, segmented, saved):
    layer = segmented()
    stroke(layer, 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    layer.undo()
    qtbot.waitUntil(lambda: not saved(), timeout=10_000)
    layer.redo()
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)


def test_what_nobody_painted_is_not_saved(qtbot, viewer, dock, segmented, saved):
    segmented((3, *SHAPE))
    viewer.dims.set_current_step(0, 1)
    dock.heads_panel.slider.setValue(0.7)
    settle(qtbot, dock)
    qtbot.wait(300)
    assert not saved()


def test_just_the_edited_planes_are_saved(qtbot, dock, segmented, saved):
    layer = segmented((3, *SHAPE))
    stroke(layer, 2, 10, 12)
    stroke(layer, 0, 30, 40)
    qtbot.waitUntil(lambda: len(saved()) == 2, timeout=10_000)
    assert [correction.source.index for correction in saved()] == [(0,), (2,)]


def test_painting_by_a_script_is_found_when_it_is_needed(qtbot, dock, segmented, child):
    layer = segmented()
    layer.data[10:20, 12:30] = 1 - layer.data[10:20, 12:30]  # no event tells of this
    press(qtbot, dock)
    (correction,) = child.learnt()
    assert np.count_nonzero(correction.wrong) == 180


def test_the_masks_box_suggests_the_layer_painted_last(qtbot, dock, segmented):
    segmented()
    painted = dock.results.layers["L2"].layer
    assert dock.finetune_part.panel.mask_box.layer is not painted
    stroke(painted, 10, 12)
    assert dock.finetune_part.panel.mask_box.layer is painted


def test_closing_the_dock_saves_the_last_stroke(qtbot, viewer, dock, segmented, saved):
    layer = segmented()
    stroke(layer, 10, 12)
    viewer.window.remove_dock_widget(dock)
    assert len(saved()) == 1


def test_closing_the_viewer_saves_the_last_stroke(viewer, dock, saved, segmented):
    layer = segmented()
    stroke(layer, 10, 12)
    viewer.close()
    assert len(saved()) == 1


def test_closing_the_window_saves_the_last_stroke_where_others_stay_open(
    qtbot, make_napari_viewer, viewer, dock, saved, segmented
):
    viewer.window.show()
    window = viewer.window._qt_window
    qtbot.waitUntil(dock.isVisible, timeout=10_000)
    window.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)  # the fixture does that
    stroke(segmented(), 10, 12)
    make_napari_viewer(show=True)
    window.close()
    assert len(saved()) == 1


def test_a_window_that_stays_open_keeps_its_dock(qtbot, viewer, dock, saved, segmented):
    viewer.window.show()
    window = viewer.window._qt_window
    qtbot.waitUntil(dock.isVisible, timeout=10_000)
    layer = segmented()
    window.closeEvent = lambda event: event.ignore()  # as napari does where the user says no
    window.close()
    assert window.isVisible()
    stroke(layer, 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    del window.closeEvent
