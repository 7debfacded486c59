"""What comes of a fine-tuning: versions, kept or not, and the way back."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hands import (
    deepest,
    finish,
    gone,
    own_mask,
    press,
    press_only,
    settle,
    stroke,
    wait_for_version,
)

from napari_unetpp.training.messages import (
    HELD_OUT,
    FinetuneEvent,
)
from napari_unetpp.widgets.curve import Curve


def test_the_loss_is_shown_where_nothing_is_held_out(qtbot):
    curve = Curve()
    qtbot.addWidget(curve)
    about = {"device": "CPU", "reason": ""}
    before = {HELD_OUT: {"L1": 0.4}}
    curve.add(FinetuneEvent(step=0, fraction=0, seconds=1.5, scores=before, **about))
    for step in range(1, 30):
        curve.add(
            FinetuneEvent(step=step, fraction=step / 29, seconds=1.5 + step, loss=-0.1, **about)
        )
    start, stop = curve.span
    assert start <= 2.5
    assert stop >= 30


def test_a_better_version_is_kept_chosen_and_used(qtbot, viewer, dock, segmented, child):
    painted = segmented()
    stroke(painted, 10, 12)
    kept = painted.data.copy()
    press(qtbot, dock)
    wait_for_version(qtbot, dock)
    panel = dock.finetune_part.panel
    assert panel.curve.heads["L2"] == [0.5, 0.8]
    assert "It is better." in panel.outcome.verdict.text()
    assert "Kept as tiny+1" in panel.outcome.verdict.text()
    assert not panel.outcome.keep_button.isVisibleTo(panel)
    assert panel.outcome.undo_button.isVisibleTo(panel)
    assert panel.mask_box.layer is deepest(dock)
    new = deepest(dock)
    assert new is not painted
    assert "tiny+1" in new.name
    np.testing.assert_array_equal(painted.data, kept)
    assert new.visible
    assert not painted.visible


def test_undo_and_redo_choose_the_version_and_show_its_masks(
    qtbot, viewer, dock, segmented, child, tiny_store
):
    painted = segmented()
    stroke(painted, 10, 12)
    press(qtbot, dock)
    wait_for_version(qtbot, dock)
    new, panel, names = deepest(dock), dock.finetune_part.panel, dock.segment_panel.model_box
    panel.outcome.undo_button.click()
    assert names.name == "tiny"
    assert (painted.visible, new.visible) == (True, False)
    assert "tiny is used now" in panel.outcome.verdict.text()
    assert {"tiny", "tiny+1"} <= set(tiny_store.names())
    assert not panel.outcome.undo_button.isVisibleTo(panel)
    panel.outcome.redo_button.click()
    assert names.name == "tiny+1"
    assert (painted.visible, new.visible) == (False, True)
    assert panel.outcome.undo_button.isVisibleTo(panel)
    assert not panel.outcome.redo_button.isVisibleTo(panel)


def test_undo_goes_all_the_way_back_and_redo_forth(qtbot, viewer, dock, segmented, child):
    first = segmented()
    stroke(first, 10, 12)
    press(qtbot, dock)
    wait_for_version(qtbot, dock)
    second = deepest(dock)
    unpainted = dock.results.layers["L1"].layer
    stroke(second, 30, 40)
    child.come_from("tiny+1")
    press(qtbot, dock)
    wait_for_version(qtbot, dock, "tiny+2")
    panel, names = dock.finetune_part.panel, dock.segment_panel.model_box
    passed = []
    for button in (panel.outcome.undo_button,) * 2 + (panel.outcome.redo_button,) * 2:
        button.click()
        passed.append(names.name)
    assert passed == ["tiny+1", "tiny", "tiny+1", "tiny+2"]
    assert not panel.outcome.redo_button.isVisibleTo(panel)
    names.names.setCurrentText("tiny+1")  # by hand
    assert panel.outcome.undo_button.isVisibleTo(panel)
    assert not panel.outcome.redo_button.isVisibleTo(panel)
    assert first in viewer.layers  # painted
    assert second in viewer.layers
    assert unpainted in viewer.layers  # before and after are one click apart


def test_masks_of_older_versions_that_nobody_painted_go(qtbot, viewer, dock, segmented, child):
    painted = segmented()
    stroke(painted, 10, 12)
    unpainted = dock.results.layers["L1"].layer
    mine = viewer.add_labels(own_mask(), name="mine")
    for version in ("tiny+1", "tiny+2"):
        press(qtbot, dock)
        wait_for_version(qtbot, dock, version)
        child.come_from("tiny+1")
    qtbot.waitUntil(lambda: unpainted not in viewer.layers, timeout=10_000)
    assert painted in viewer.layers
    assert mine in viewer.layers


def test_before_and_after_are_one_click_apart(qtbot, dock, segmented, child):
    painted = segmented()
    stroke(painted, 10, 12)
    press(qtbot, dock)
    wait_for_version(qtbot, dock)
    new, panel = deepest(dock), dock.finetune_part.panel
    assert panel.outcome.flip_button.isVisibleTo(panel)
    for expected in ((True, False), (False, True)):
        panel.outcome.flip_button.click()
        assert (painted.visible, new.visible) == expected
    assert dock.segment_panel.model_box.name == "tiny+1"


def test_the_next_version_comes_from_this_one(qtbot, dock, segmented, child):
    stroke(segmented(), 10, 12)
    press(qtbot, dock)
    wait_for_version(qtbot, dock)
    stroke(deepest(dock), 30, 40)
    press(qtbot, dock)
    wait_for_version(qtbot, dock, "tiny+2")
    assert child.asked.model.name == "tiny+1.safetensors"


@pytest.mark.parametrize("outcome", ["not better", "unknown"])
def test_another_version_is_kept_just_when_the_user_says_so(
    qtbot, dock, segmented, child, tiny_store, outcome
):
    child.end(outcome)
    layer = segmented()
    stroke(layer, 10, 12)
    press(qtbot, dock)
    panel = dock.finetune_part.panel
    assert "Not kept; tiny is used as before." in panel.outcome.verdict.text()
    assert "tiny+1" not in tiny_store.names()
    assert dock.segment_panel.model_box.name == "tiny"
    assert deepest(dock) is layer
    assert panel.outcome.keep_button.isVisibleTo(panel)
    panel.outcome.keep_button.click()
    wait_for_version(qtbot, dock)
    assert "tiny+1" in tiny_store.names()
    assert not panel.outcome.keep_button.isVisibleTo(panel)
    assert not list(tiny_store.folder.glob(".*"))


def test_what_a_crash_left_long_ago_is_cleared_away(dock, open_dock, viewer, tiny_store):
    old, new = (tiny_store.folder / f".candidate-{name}.safetensors" for name in ("old", "new"))
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    viewer.window.remove_dock_widget(dock)
    open_dock()
    assert not old.exists()
    assert new.exists()


def test_what_waits_to_be_kept_goes_on_waiting(qtbot, dock, segmented, child, errors):
    child.end("not better")
    stroke(segmented(), 10, 12)
    press(qtbot, dock)
    panel = dock.finetune_part.panel
    dock.segment_panel.button.click()  # meanwhile
    settle(qtbot, dock)
    assert panel.outcome.keep_button.isVisibleTo(panel)
    panel.learn_box.setCurrentText("checked planes")  # and there are none
    press(qtbot, dock)
    assert "Nothing was corrected" in errors()[0]
    assert panel.outcome.keep_button.isVisibleTo(panel)
    panel.outcome.keep_button.click()
    wait_for_version(qtbot, dock)


def test_what_is_not_kept_is_thrown_away(qtbot, viewer, dock, segmented, child, tiny_store):
    child.end("not better")
    stroke(segmented(), 10, 12)
    press(qtbot, dock)
    press(qtbot, dock)
    assert len(list(tiny_store.folder.glob(".candidate*"))) == 1
    viewer.window.remove_dock_widget(dock)
    assert not list(tiny_store.folder.glob(".candidate*"))


def test_stop_takes_what_there_is(qtbot, dock, segmented, child):
    child.end("better", waits=True)
    stroke(segmented(), 10, 12)
    press_only(dock)
    panel = dock.finetune_part.panel
    assert panel.button.text() == "Stop (keep best)"
    qtbot.waitUntil(lambda: "Step 2" in panel.message.text(), timeout=30_000)
    panel.button.click()
    finish(qtbot, dock)
    wait_for_version(qtbot, dock)


def test_stop_while_painting_is_being_saved_ends_it(qtbot, dock, segmented, child, saved):
    stroke(segmented(), 10, 12)
    press_only(dock)
    dock.finetune_part.panel.button.click()
    finish(qtbot, dock)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    press(qtbot, dock)
    wait_for_version(qtbot, dock)


def test_no_process_is_left_after_a_fine_tuning(qtbot, dock, segmented, child):
    stroke(segmented(), 10, 12)
    trainer = dock.finetune_part.finetuning.trainer
    press_only(dock)
    qtbot.waitUntil(lambda: trainer.running, timeout=30_000)
    process_id = trainer.process_id
    finish(qtbot, dock)
    assert trainer.process_id is None
    qtbot.waitUntil(lambda: gone(process_id), timeout=10_000)
