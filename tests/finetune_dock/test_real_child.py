"""With a child process that really trains."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hands import (
    LARGER,
    PATIENCE,
    finish,
    press,
    press_only,
    wait_for_version,
)
from images import discs
from qtpy.QtCore import QTimer

from napari_unetpp.widgets import SegmentDock
from napari_unetpp.widgets.trainer import MODULE


@pytest.fixture
def corrected(viewer: Any, dock: SegmentDock) -> Any:
    """An image that the model segments badly, and a mask of one's own."""
    pixels, mask = discs(LARGER)
    viewer.add_image(pixels, name="cells")
    dock.segment_panel.device_box.setCurrentText("cpu")
    return viewer.add_labels(mask.astype(np.uint8), name="mine")


@pytest.mark.slow
def test_a_real_child_makes_a_version(qtbot, dock, corrected, tiny_store):
    """Whether it is better in so short a time depends on the machine; if not, it is kept so."""
    dock.finetune_fold.open()
    panel = dock.finetune_part.panel
    panel.form.minutes_box.setValue(0.15)
    press(qtbot, dock, timeout=PATIENCE)
    assert "IoU on held-out corrections" in panel.outcome.verdict.text()
    if panel.outcome.keep_button.isVisibleTo(panel):
        panel.outcome.keep_button.click()
    wait_for_version(qtbot, dock)
    assert "Kept as tiny+1" in panel.outcome.verdict.text()
    assert len(panel.curve.heads["L1"]) > 2
    spec = tiny_store.spec("tiny+1")
    assert spec.parent_name == "tiny"
    np.testing.assert_array_equal(corrected.data, discs(LARGER)[1])


@pytest.mark.slow
def test_a_real_child_stops_when_it_is_told(qtbot, dock, corrected):
    panel = dock.finetune_part.panel
    panel.form.minutes_box.setValue(60)
    press_only(dock)
    qtbot.waitUntil(lambda: "Step 3" in panel.message.text(), timeout=PATIENCE)
    started = time.monotonic()
    panel.button.click()
    finish(qtbot, dock)
    assert time.monotonic() - started < 5  # 2 on a machine that isn't busy
    assert panel.outcome.verdict.text()
    assert dock.finetune_part.finetuning.trainer.process_id is None


@pytest.mark.slow
def test_the_window_answers_while_a_real_child_trains(qtbot, dock, corrected):
    """No turn of the event loop takes 100 ms of the thread's own time, as in `test_dock`."""
    dock.finetune_fold.open()
    panel = dock.finetune_part.panel
    panel.form.minutes_box.setValue(60)
    beats = [time.thread_time()]
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(time.thread_time()))
    timer.start(10)
    press_only(dock)
    qtbot.waitUntil(lambda: "Step 12" in panel.message.text(), timeout=PATIENCE)
    panel.button.click()
    finish(qtbot, dock)
    timer.stop()
    assert len(beats) > 10
    assert np.diff(beats).max() < 0.1


def test_the_child_is_this_packages(dock):
    assert MODULE == "napari_unetpp.training.child"
