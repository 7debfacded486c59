"""What a fine-tuning learns from: the planes, the pixels, the wishes."""

from __future__ import annotations

import numpy as np
from hands import (
    LARGER,
    SHAPE,
    deepest,
    press,
    settle,
    stroke,
)
from images import discs
from scipy import ndimage

from napari_unetpp.models.file import save_model


def test_the_whole_of_each_edited_plane_is_known(qtbot, dock, segmented, child):
    layer = segmented((3, *SHAPE))
    stroke(layer, 2, 10, 12)
    press(qtbot, dock)
    (correction,) = child.learnt()
    assert correction.source.index == (2,)
    assert correction.known.all()


def test_around_edits_just_what_is_near_is_known(qtbot, dock, segmented, child):
    layer = segmented()
    stroke(layer, 10, 12)
    dock.finetune_part.panel.learn_box.setCurrentText("around edits")
    dock.finetune_part.panel.form.margin_box.setValue(7)
    press(qtbot, dock)
    (correction,) = child.learnt()
    near = ndimage.distance_transform_edt(~correction.wrong) <= 7
    np.testing.assert_array_equal(correction.known, near)


def test_checked_planes_are_learnt_from_and_no_others(qtbot, viewer, dock, segmented, child):
    layer = segmented((3, *SHAPE))
    stroke(layer, 2, 10, 12)
    viewer.dims.set_current_step(0, 1)
    panel = dock.finetune_part.panel
    panel.learn_box.setCurrentText("checked planes")
    panel.checked_button.click()
    press(qtbot, dock)
    (correction,) = child.learnt()
    assert correction.source.index == (1,)
    assert correction.known.all()
    assert not correction.wrong.any()


def test_a_checked_plane_counts_with_the_edited_ones(qtbot, viewer, dock, segmented, child):
    layer = segmented((3, *SHAPE))
    stroke(layer, 2, 10, 12)
    viewer.dims.set_current_step(0, 1)
    dock.finetune_part.panel.checked_button.click()
    press(qtbot, dock)
    assert [correction.source.index for correction in child.learnt()] == [(1,), (2,)]


def test_checked_once_more_is_not_checked(qtbot, viewer, dock, segmented, saved):
    segmented((3, *SHAPE))
    viewer.dims.set_current_step(0, 1)
    panel = dock.finetune_part.panel
    panel.checked_button.click()
    assert "Z 1 is marked as right" in panel.message.text()
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    panel.checked_button.click()
    assert "not checked" in panel.message.text()
    qtbot.waitUntil(lambda: not saved(), timeout=10_000)


def test_an_empty_plane_of_ones_own_can_be_checked(qtbot, viewer, dock, saved):
    viewer.add_image(discs(LARGER)[0], name="cells")
    viewer.add_labels(np.zeros(LARGER, np.uint8))
    dock.finetune_part.panel.checked_button.click()
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    assert saved()[0].known.all()
    assert not saved()[0].classes.any()


def test_scribbles_are_known_where_they_are(qtbot, viewer, dock, child):
    image = viewer.add_image(discs(LARGER)[0], name="cells")
    labels = np.zeros(LARGER, np.uint8)
    labels[10, 20:60] = 1
    labels[40, 20:80] = 2
    viewer.add_labels(labels, name="scribbles")
    assert dock.segment_panel.image is image
    dock.finetune_part.panel.learn_box.setCurrentText("scribbles")
    press(qtbot, dock)
    (correction,) = child.learnt()
    np.testing.assert_array_equal(correction.known, labels > 0)
    np.testing.assert_array_equal(correction.classes, labels == 2)


def test_instances_of_ones_own_are_kept_apart(qtbot, viewer, dock, child):
    viewer.add_image(discs(LARGER)[0], name="cells")
    labels = np.zeros(LARGER, np.int32)
    for number in range(8):
        labels[20:40, 10 * number : 10 * number + 10] = number + 1
    viewer.add_labels(labels)
    press(qtbot, dock)
    (correction,) = child.learnt()
    assert correction.classes.max() == 1
    assert not correction.classes[30, 9:11].any()  # where two touch


def test_what_was_not_computed_does_not_count(qtbot, viewer, dock, child):
    image = viewer.add_image(np.random.default_rng(0).integers(0, 4000, (96, 131), np.uint16))
    image.corner_pixels = np.array([[32, 48], [63, 95]])
    dock.segment_panel.where_row.button("view").click()
    dock.segment_panel.button.click()
    settle(qtbot, dock)
    layer = deepest(dock)
    stroke(layer, 40, 60)
    layer.data_setitem((np.array([5]), np.array([6])), np.array([1]))  # outside the view
    press(qtbot, dock)
    (correction,) = child.learnt()
    expected = np.zeros((96, 131), bool)
    expected[32:64, 48:96] = True
    expected[5, 6] = True
    np.testing.assert_array_equal(correction.known, expected)


def test_masks_of_several_images_count_together(qtbot, dock, segmented, child):
    stroke(segmented(), 10, 12)
    stroke(segmented((80, 52), 1, name="others"), 30, 20)
    press(qtbot, dock)
    assert [correction.source.image for correction in child.learnt()] == ["cells", "others"]
    assert "in 2 layers" in dock.finetune_part.panel.corrected_label.text()


def test_corrections_of_another_family_are_not_used(
    qtbot, dock, segmented, child, tiny_store, make_model
):
    other = make_model(name="other", description="of another family")
    save_model(other.network, other.spec, tiny_store.folder / "other.safetensors")
    box = dock.segment_panel.model_box
    box.refresh("other")
    stroke(segmented(seed=1, name="others"), 10, 12)
    box.refresh("tiny")
    stroke(segmented(), 10, 12)
    press(qtbot, dock)
    assert [correction.source.image for correction in child.learnt()] == ["cells"]
    assert child.asked.corrections[0].parent == tiny_store.corrections_folder(
        tiny_store.load("tiny").digest
    )


def test_the_wishes_reach_the_child(qtbot, dock, segmented, child, tiny_store):
    stroke(segmented(), 10, 12)
    panel = dock.finetune_part.panel
    panel.form.minutes_box.setValue(7.5)
    panel.form.depth_box.setCurrentText("L2")
    panel.form.start_box.setCurrentText("nothing")
    dock.segment_panel.device_box.setCurrentText("cpu")
    dock.segment_panel.background_box.setCurrentText("bright")
    press(qtbot, dock)
    asked = child.asked
    assert asked.model == tiny_store.path("tiny")
    assert (asked.minutes, asked.depth, asked.start, asked.device) == (7.5, 2, "nothing", "cpu")
    assert asked.normalisation.background == "bright"
