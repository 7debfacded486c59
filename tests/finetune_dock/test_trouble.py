"""What goes wrong is told in one sentence, and nothing is lost."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

import numpy as np
import pytest
from hands import (
    LARGER,
    PATIENCE,
    SHAPE,
    finish,
    gone,
    own_mask,
    press,
    press_only,
    stroke,
    wait_for_version,
)
from images import discs


def test_without_edits_it_is_told_in_one_sentence(qtbot, dock, segmented, child, errors):
    segmented()
    press(qtbot, dock)
    (error,) = errors()
    assert "Nothing was corrected yet" in error


def test_without_any_mask_it_is_told_in_one_sentence(qtbot, viewer, dock, child, errors):
    viewer.add_image(discs(LARGER)[0])
    press(qtbot, dock)
    (error,) = errors()
    assert "Nothing was corrected yet" in error


@pytest.mark.slow
def test_background_alone_is_told_in_one_sentence(
    qtbot, dock, segmented, errors, saved, tiny_store
):
    layer = segmented()
    layer.data = np.zeros(SHAPE, np.uint8)
    press(qtbot, dock, timeout=PATIENCE)
    (error,) = errors()
    assert "all background" in error
    assert len(saved()) == 1
    assert not list(tiny_store.folder.glob(".*"))


@pytest.mark.parametrize("shape", [(48, 60), (2, *SHAPE)])
def test_a_mask_of_another_shape_is_told_in_one_sentence(qtbot, viewer, dock, child, errors, shape):
    viewer.add_image(discs(SHAPE)[0], name="cells")
    layer = viewer.add_labels(own_mask(shape), name="mine")
    press(qtbot, dock)
    (error,) = errors()
    assert "mine" in error
    assert "shape" in error
    np.testing.assert_array_equal(layer.data, own_mask(shape))


@pytest.mark.parametrize("place", [{"scale": (2, 2)}, {"translate": (5, 0)}])
def test_a_mask_elsewhere_is_told_in_one_sentence(qtbot, viewer, dock, child, errors, place):
    viewer.add_image(discs(SHAPE)[0], name="cells")
    viewer.add_labels(own_mask(), name="mine", **place)
    press(qtbot, dock)
    (error,) = errors()
    assert "mine lies elsewhere than cells" in error
    assert next(iter(place)) in error


def test_an_image_without_finite_pixels_is_told_in_one_sentence(qtbot, viewer, dock, child, errors):
    viewer.add_image(np.full(SHAPE, np.nan, np.float32), name="cells", contrast_limits=(0, 1))
    layer = viewer.add_labels(own_mask())
    press(qtbot, dock)
    (error,) = errors()
    assert "no finite intensity" in error
    np.testing.assert_array_equal(layer.data, own_mask())


def test_one_bad_image_does_not_keep_the_others_from_being_saved(
    qtbot, viewer, dock, segmented, saved, errors
):
    bad = np.full(SHAPE, np.nan, np.float32)
    image = viewer.add_image(bad, name="bad", contrast_limits=(0, 1))
    dock.segment_panel.image_box.layer = image
    mine = viewer.add_labels(own_mask(), name="mine")
    dock.finetune_part.panel.mask_box.layer = mine
    dock.finetune_part.panel.checked_button.click()  # it is watched from now on
    qtbot.waitUntil(lambda: len(errors()) == 1, timeout=10_000)
    stroke(segmented(), 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    assert saved()[0].source.image == "cells"


def test_labels_that_are_no_classes_are_told_in_one_sentence(qtbot, viewer, dock, child, errors):
    viewer.add_image(discs(SHAPE)[0], name="cells")
    viewer.add_labels(own_mask().astype(np.int16) * 300)
    dock.finetune_part.panel.learn_box.setCurrentText("scribbles")
    press(qtbot, dock)
    (error,) = errors()
    assert "classes are the most" in error


def test_a_model_that_vanished_is_told_in_one_sentence(
    qtbot, dock, segmented, child, errors, tiny_store, saved
):
    stroke(segmented(), 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    tiny_store.remove("tiny")
    press(qtbot, dock)
    (error,) = errors()
    assert "no model 'tiny'" in error
    assert len(saved()) == 1


def test_a_model_that_vanishes_while_it_trains_leaves_its_new_version(
    qtbot, dock, segmented, child, errors, tiny_store
):
    child.end("better", waits=True)
    stroke(segmented(), 10, 12)
    press_only(dock)
    panel = dock.finetune_part.panel
    qtbot.waitUntil(lambda: "Step 2" in panel.message.text(), timeout=30_000)
    tiny_store.remove("tiny")
    panel.button.click()
    finish(qtbot, dock)
    wait_for_version(qtbot, dock)
    assert not errors()
    assert not panel.outcome.undo_button.isVisibleTo(panel)  # there is nothing to go back to


@pytest.mark.parametrize("when", ["while painting", "at the button"])
def test_a_full_disk_is_told_in_one_sentence_and_nothing_is_lost(
    qtbot, dock, segmented, child, errors, saved, monkeypatch, when
):
    layer = segmented()
    stroke(layer, 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    before = saved()[0].classes.copy()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        if when == "while painting":
            stroke(layer, 30, 40)
        else:
            layer.data[30:35, 40:45] = 1 - layer.data[30:35, 40:45]
            press(qtbot, dock)
        qtbot.waitUntil(lambda: len(errors()) == 1, timeout=10_000)
        qtbot.wait(200)
    (error,) = errors()
    assert "No space left" in error
    np.testing.assert_array_equal(saved()[0].classes, before)
    press(qtbot, dock)
    np.testing.assert_array_equal(child.learnt()[0].classes, layer.data)


def test_closing_the_dock_with_a_full_disk_is_told(
    qtbot, viewer, dock, segmented, errors, monkeypatch
):
    stroke(segmented(), 10, 12)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        viewer.window.remove_dock_widget(dock)
    (error,) = errors()
    assert "No space left" in error


def test_a_full_disk_while_a_version_is_kept_is_told(
    qtbot, dock, segmented, child, errors, tiny_store, monkeypatch
):
    child.end("not better")
    stroke(segmented(), 10, 12)
    press(qtbot, dock)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        dock.finetune_part.panel.outcome.keep_button.click()
        qtbot.waitUntil(lambda: len(errors()) == 1, timeout=10_000)
    assert "No space left" in errors()[0]
    assert dock.segment_panel.model_box.name == "tiny"
    assert "tiny+1" not in tiny_store.names()


def test_a_new_model_that_can_not_be_kept_waits_and_is_not_lost(
    qtbot, dock, segmented, child, errors, saved, tiny_store, monkeypatch
):
    child.end("new")
    stroke(segmented(), 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    dock.segment_panel.model_box.new_clicked.emit()
    dialog = dock.new_model_part.dialog
    dialog.name_edit.setText("mine")
    qtbot.waitUntil(dialog.train_button.isEnabled, timeout=10_000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        dialog.train_button.click()
        qtbot.waitUntil(lambda: len(errors()) == 1, timeout=30_000)
    assert "No space left" in errors()[0]
    assert (child.asked.name, child.asked.start) == ("mine", "nothing")
    assert child.asked.widths == (16, 32, 64, 128, 256)
    panel = dock.finetune_part.panel
    assert panel.outcome.keep_button.isVisibleTo(panel)
    press(qtbot, dock)  # another one would take its place
    assert "The new model mine waits" in errors()[1]
    panel.outcome.keep_button.click()
    wait_for_version(qtbot, dock, "mine")
    assert "mine" in tiny_store.names()
    assert not panel.outcome.keep_button.isVisibleTo(panel)
    assert not list(tiny_store.folder.glob(".*"))


def full_disk(*args: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_the_child_refuses_is_told(qtbot, dock, segmented, child, errors, tiny_store):
    child.say("refused", "The corrections are too few.")
    stroke(segmented(), 10, 12)
    press(qtbot, dock)
    assert errors() == ["The corrections are too few."]
    assert not list(tiny_store.folder.glob(".*"))
    child.end("better")
    press(qtbot, dock)
    wait_for_version(qtbot, dock)


def test_a_bug_in_the_child_is_shown_with_its_traceback(qtbot, dock, segmented, child):
    child.say("failed", "Traceback: the kernel is not there")
    stroke(segmented(), 10, 12)
    with qtbot.captureExceptions() as raised:
        press(qtbot, dock)
    assert "the kernel is not there" in str(raised[0][1])


@pytest.mark.parametrize("trained", [False, True], ids=["at the start", "after a result"])
def test_a_killed_child_leaves_everything_as_it_was(
    qtbot, dock, segmented, child, errors, saved, tiny_store, trained
):
    child.end("better", waits=True)
    layer = segmented()
    stroke(layer, 10, 12)
    kept, models = layer.data.copy(), tiny_store.names()
    panel, trainer = dock.finetune_part.panel, dock.finetune_part.finetuning.trainer
    press_only(dock)
    wanted = "Step 2" if trained else "Loading"
    qtbot.waitUntil(lambda: trainer.running and wanted in panel.message.text(), timeout=30_000)
    os.kill(trainer.process_id, signal.SIGKILL)
    finish(qtbot, dock)
    (error,) = errors()
    assert "ended unexpectedly" in error
    assert tiny_store.names() == models
    assert not list(tiny_store.folder.glob(".*"))
    np.testing.assert_array_equal(layer.data, kept)
    assert len(saved()) == 1
    child.end("better")
    press(qtbot, dock)
    wait_for_version(qtbot, dock)


def test_a_warm_child_that_is_killed_is_not_missed(qtbot, dock, segmented, child, errors):
    dock.finetune_fold.open()
    trainer = dock.finetune_part.finetuning.trainer
    qtbot.waitUntil(lambda: bool(trainer.process_id), timeout=30_000)
    os.kill(trainer.process_id, signal.SIGKILL)
    qtbot.waitUntil(lambda: trainer.process_id is None, timeout=10_000)
    stroke(segmented(), 10, 12)
    press(qtbot, dock)
    wait_for_version(qtbot, dock)
    assert not errors()


def test_python_that_can_not_be_run_is_told(qtbot, dock, segmented, errors, monkeypatch):
    stroke(segmented(), 10, 12)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/python")
        press(qtbot, dock)
    (error,) = errors()
    assert "can't be started" in error


def test_a_silent_child_is_ended(qtbot, monkeypatch, open_dock, child, errors, viewer, tiny_store):
    monkeypatch.setattr("napari_unetpp.widgets.trainer.SILENCE", 1500)
    dock = open_dock()
    child.end("better", waits=True)
    viewer.add_image(discs(SHAPE)[0], name="cells")
    viewer.add_labels(own_mask())
    press_only(dock)
    trainer = dock.finetune_part.finetuning.trainer
    qtbot.waitUntil(lambda: bool(trainer.process_id), timeout=10_000)
    process_id = trainer.process_id
    finish(qtbot, dock)
    (error,) = errors()
    assert "hung" in error
    assert gone(process_id)
    assert not list(tiny_store.folder.glob(".*"))


@pytest.mark.parametrize("close", ["dock", "viewer"])
def test_closing_ends_the_child(qtbot, viewer, dock, segmented, child, saved, tiny_store, close):
    child.end("better", waits=True)
    stroke(segmented(), 10, 12)
    press_only(dock)
    panel, trainer = dock.finetune_part.panel, dock.finetune_part.finetuning.trainer
    qtbot.waitUntil(lambda: "Step 2" in panel.message.text(), timeout=30_000)
    process_id = trainer.process_id
    if close == "dock":
        viewer.window.remove_dock_widget(dock)
    else:
        viewer.close()
    qtbot.waitUntil(lambda: gone(process_id), timeout=10_000)
    assert len(saved()) == 1
    assert not list(tiny_store.folder.glob(".candidate*"))


def test_closing_the_dock_while_a_version_is_kept(qtbot, viewer, dock, segmented, child):
    stroke(segmented(), 10, 12)
    with qtbot.waitSignal(dock.finetune_part.finetuning.decided, timeout=30_000):
        press_only(dock)
    viewer.window.remove_dock_widget(dock)
    qtbot.wait(500)


def test_the_image_may_go_while_it_trains(qtbot, viewer, dock, segmented, child, errors):
    child.end("better", waits=True)
    stroke(segmented(), 10, 12)
    press_only(dock)
    panel = dock.finetune_part.panel
    qtbot.waitUntil(lambda: "Step 2" in panel.message.text(), timeout=30_000)
    viewer.layers.clear()
    panel.button.click()
    finish(qtbot, dock)
    qtbot.waitUntil(lambda: dock.segment_panel.model_box.name == "tiny+1", timeout=30_000)
