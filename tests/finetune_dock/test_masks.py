"""Which layers are masks, and of which image."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hands import (
    SHAPE,
    deepest,
    own_mask,
    pick,
    press,
    settle,
    stroke,
    wait_for_version,
)
from napari.utils.notifications import notification_manager

from napari_unetpp.models.file import save_model
from napari_unetpp.widgets import SegmentDock
from napari_unetpp.widgets.mask import Mask


def test_the_deepest_head_is_what_is_marked_as_checked(qtbot, viewer, dock, segmented, saved):
    layer = segmented((2, *SHAPE))
    viewer.dims.set_point(0, 1)
    panel = dock.finetune_part.panel
    assert panel.mask_box.layer is layer
    panel.checked_button.click()
    assert "L3 at Z 1 is marked as right" in panel.message.text()
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    np.testing.assert_array_equal(saved()[0].classes, layer.data[1])


def test_a_layer_of_ones_own_stays_chosen(qtbot, viewer, dock, segmented):
    segmented()
    mine = viewer.add_labels(own_mask(), name="mine")
    box = dock.finetune_part.panel.mask_box
    box.layer = mine
    dock.segment_panel.tile_box.setValue(512)  # new layers
    dock.segment_panel.button.click()
    settle(qtbot, dock)
    assert box.layer is mine


def test_a_hidden_mask_can_not_be_marked(dock, segmented, errors):
    segmented().visible = False
    dock.finetune_part.mark_checked()
    (error,) = errors()
    assert "is hidden" in error


def test_a_layer_of_ones_own_counts_when_it_is_chosen_or_painted(
    qtbot, viewer, dock, segmented, child
):
    layer = segmented()
    region = viewer.add_labels(own_mask(), name="a region")
    stroke(layer, 10, 12)
    press(qtbot, dock)
    assert len(child.asked.corrections) == 1
    wait_for_version(qtbot, dock)
    stroke(region, 40, 50)
    press(qtbot, dock)
    assert len(child.asked.corrections) == 2


def test_a_mask_stays_that_of_the_image_it_was_painted_over(qtbot, viewer, dock, segmented, child):
    segmented()
    first = dock.segment_panel.image
    mine = viewer.add_labels(own_mask(), name="mine")
    qtbot.wait(50)
    stroke(mine, 40, 50)
    segmented(name="others", seed=1)
    dock.finetune_part.panel.mask_box.layer = mine
    press(qtbot, dock)
    (correction,) = child.learnt()
    assert correction.source.image == "cells"
    np.testing.assert_array_equal(correction.image[0], first.data)


@pytest.fixture
def painted_over_others(qtbot: Any, viewer: Any, dock: SegmentDock) -> Any:
    """A layer of one's own, painted while "cells" is chosen, and "others" is seen."""
    rng = np.random.default_rng(0)
    for name in ("cells", "others"):
        viewer.add_image(rng.integers(0, 4000, SHAPE, np.uint16), name=name)
    assert dock.segment_panel.image.name == "cells"
    mine = viewer.add_labels(own_mask(), name="mine")
    qtbot.wait(50)
    stroke(mine, 40, 50)
    return mine


def test_what_is_painted_is_learnt_with_the_image_that_was_seen(
    qtbot, viewer, dock, child, saved, painted_over_others
):
    qtbot.wait(300)
    assert not saved()
    dock.segment_panel.image_box.layer = viewer.layers["others"]
    qtbot.wait(50)
    stroke(painted_over_others, 20, 60)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    press(qtbot, dock)
    (correction,) = child.learnt()
    assert correction.source.image == "others"
    np.testing.assert_array_equal(correction.image[0], viewer.layers["others"].data)
    np.testing.assert_array_equal(correction.classes, painted_over_others.data)


def test_whose_mask_it_is_is_asked_and_said_by_picking_it(
    qtbot, viewer, dock, child, errors, saved, painted_over_others
):
    press(qtbot, dock)
    (error,) = errors()
    assert "mine was painted over others, but is taken for a mask of cells" in error
    assert not saved()
    pick(dock.finetune_part.panel.mask_box, painted_over_others)
    press(qtbot, dock)
    (correction,) = child.learnt()
    np.testing.assert_array_equal(correction.image[0], viewer.layers["cells"].data)
    assert len(errors()) == 1


def test_a_doubtful_mask_is_not_learnt_with_others(
    qtbot, viewer, dock, child, segmented, painted_over_others
):
    viewer.layers["cells"].visible = True
    dock.segment_panel.button.click()
    settle(qtbot, dock)
    stroke(deepest(dock), 10, 12)
    press(qtbot, dock)
    assert [c.source.layer for c in child.learnt()] == [
        dock.finetune_part.keeper.mask_of(deepest(dock)).identity
    ]


def test_a_mask_that_is_picked_is_one_of_the_chosen_image(qtbot, viewer, dock, segmented, child):
    segmented()
    mine = viewer.add_labels(own_mask(), name="mine")
    qtbot.wait(50)
    stroke(mine, 40, 50)
    segmented(name="others", seed=1)
    start = len(notification_manager.records)
    pick(dock.finetune_part.panel.mask_box, mine)
    assert "a mask of others from now on" in notification_manager.records[start].message
    press(qtbot, dock)
    (correction,) = child.learnt()
    np.testing.assert_array_equal(correction.image[0], viewer.layers["others"].data)
    np.testing.assert_array_equal(correction.classes, mine.data)


def test_a_mask_that_does_not_fit_the_chosen_image_stays_where_it_is(
    qtbot, viewer, dock, segmented, child
):
    segmented()
    mine = viewer.add_labels(own_mask(), name="mine")
    qtbot.wait(50)
    stroke(mine, 40, 50)
    segmented((40, 60), name="others", seed=1)
    pick(dock.finetune_part.panel.mask_box, mine)
    press(qtbot, dock)
    (correction,) = child.learnt()
    assert correction.source.image == "cells"


def test_what_a_program_writes_into_its_own_layer_is_no_painting(
    qtbot, viewer, dock, segmented, child, saved
):
    layer = segmented()
    others = viewer.add_labels(np.zeros(SHAPE, np.uint8), name="of a plugin")
    qtbot.wait(50)
    others.data = own_mask()
    stroke(layer, 10, 12)
    press(qtbot, dock)
    (correction,) = child.learnt()
    np.testing.assert_array_equal(correction.classes, layer.data)
    wait_for_version(qtbot, dock)
    dock.finetune_part.panel.mask_box.layer = others
    press(qtbot, dock)
    assert len(child.asked.corrections) == 2


@pytest.mark.parametrize("painted", [True, False])
def test_a_layer_that_gets_another_shape_is_left_out(
    qtbot, viewer, dock, segmented, child, errors, saved, painted
):
    layer = segmented()
    mine = viewer.add_labels(own_mask(), name="mine")
    qtbot.wait(50)
    if painted:
        stroke(mine, 40, 50)
        qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    mine.data = np.zeros((30, 41), np.uint8)
    stroke(layer, 10, 12)
    press(qtbot, dock)
    assert len(errors()) == painted
    assert all("mine has shape (30, 41), but a mask of cells needs" in told for told in errors())
    (correction,) = child.learnt()
    np.testing.assert_array_equal(correction.classes, layer.data)
    assert dock.finetune_part.keeper.mask_of(mine) is None


def test_a_mask_of_ones_own_goes_with_the_model(
    qtbot, viewer, dock, segmented, child, tiny_store, make_model
):
    other = make_model(name="other", widths=(4, 6))
    save_model(other.network, other.spec, tiny_store.folder / "other.safetensors")
    segmented()
    mine = viewer.add_labels(own_mask(), name="mine")
    dock.finetune_part.panel.mask_box.layer = mine
    stroke(mine, 40, 50)
    dock.segment_panel.model_box.refresh("other")
    press(qtbot, dock)
    assert child.asked.model.name == "other.safetensors"
    assert len(child.asked.corrections) == 1


def test_planes_before_are_instances_too_once_there_are_many(qtbot, viewer, dock, child, saved):
    pixels = np.random.default_rng(0).integers(0, 4000, (2, *SHAPE), np.uint16)
    viewer.add_image(pixels, name="cells")
    labels = np.zeros((2, *SHAPE), np.uint8)
    mine = viewer.add_labels(labels, name="mine")
    qtbot.wait(50)
    for number in (1, 2):
        mine.selected_label = number
        mine.brush_size = 5
        mine.paint((0, 10, 10 * number), number)
    qtbot.waitUntil(lambda: len(saved()) == 1 and saved()[0].classes.max() == 2, timeout=10_000)
    for number in (3, 4, 5):
        mine.paint((1, 20, 10 * number), number)
    press(qtbot, dock)
    before, after = child.learnt()
    assert before.classes.max() == after.classes.max() == 1
    assert before.painted is not None


def test_what_a_script_painted_is_saved_at_the_end(viewer, dock, segmented, saved):
    layer = segmented()
    layer.data[10, 12] = 1 - layer.data[10, 12]
    layer.refresh()
    viewer.window.remove_dock_widget(dock)
    assert len(saved()) == 1


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Any layer is too large to be compared while the window waits; says where one was."""
    monkeypatch.setattr("napari_unetpp.widgets.label_planes.QUICKLY_COMPARED", 1)
    waited: list[bool] = []
    corrected = Mask.corrected

    def compared(mask: Mask) -> Any:
        waited.append(threading.current_thread() is threading.main_thread())
        return corrected(mask)

    monkeypatch.setattr(Mask, "corrected", compared)
    return waited


@pytest.mark.parametrize("what", ["layers", "dock"])
def test_the_window_waits_for_no_large_layer_that_nobody_painted(
    qtbot, viewer, dock, segmented, saved, large, what
):
    layer = segmented((3, *SHAPE))
    other = dock.results.layers["L1"].layer
    stroke(other, 1, 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    keeper = dock.finetune_part.keeper
    qtbot.waitUntil(lambda: len(keeper.kept) == 1, timeout=10_000)
    layer.data[2, 10, 12] = 1 - layer.data[2, 10, 12]  # no event tells of this
    if what == "dock":
        viewer.window.remove_dock_widget(dock)
    else:
        viewer.layers.clear()
    assert not any(large)
    qtbot.waitUntil(lambda: len(saved()) == 2, timeout=10_000)
    np.testing.assert_array_equal(saved()[1].classes, layer.data[2])


def test_the_last_stroke_in_a_large_layer_is_saved_at_once(viewer, dock, segmented, saved, large):
    layer = segmented((3, *SHAPE))
    stroke(layer, 1, 10, 12)
    viewer.layers.remove(layer)
    assert len(saved()) == 1
    assert any(large)
