"""Fine-tuning in the dock, through the brush and the buttons that a user presses.

Where it doesn't matter what is learnt, a stand-in for the child process answers at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import NotificationSeverity, notification_manager
from qtpy.QtCore import Qt, QTimer
from scipy import ndimage

from napari_unetpp.models import HistoryEntry, Store
from napari_unetpp.models.file import read_model, save_model
from napari_unetpp.models.spec import FINE_TUNED
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.training.corrections import Correction, Source, correct
from napari_unetpp.training.messages import (
    HELD_OUT,
    FinetuneEvent,
    FinetuneTask,
    Message,
    Result,
    Verdict,
)
from napari_unetpp.widgets import SegmentDock
from napari_unetpp.widgets.curve import Curve
from napari_unetpp.widgets.mask import Mask
from napari_unetpp.widgets.trainer import MODULE

SHAPE = (48, 68)
LARGER = (150, 212)
"""Large enough for a part to be held out."""
PATIENCE = 90_000
"""Milliseconds to wait for a real child, on a machine that is busy."""

STAND_IN = """
import json, pathlib, shutil, sys, time
here = pathlib.Path(__file__).parent
plan = json.loads((here / "plan.json").read_text())
print('{"kind": "ready"}', flush=True)
for line in sys.stdin:
    if line.strip() == "stop":
        break
    (here / "task.json").write_text(line)
    if plan["candidate"]:
        shutil.copy(plan["candidate"], json.loads(line)["output"])
    for message in plan["messages"]:
        print(message, flush=True)
    if not plan["waits"]:
        break
"""
"""A child that says what it is told to say; "stop" ends it, as the end of its input does."""


class Child:
    """The stand-in for the child process: what it is to say, and what it was asked."""

    def __init__(self, folder: Path, model: Any) -> None:
        self._folder, self._model = folder, model
        self.end("better")

    @property
    def asked(self) -> FinetuneTask:
        """The task that it got last."""
        return FinetuneTask.model_validate_json((self._folder / "task.json").read_text())

    def learnt(self) -> list[Correction]:
        """What it was to learn from, plane by plane."""
        folder = CorrectionFolder(self.asked.corrections[0].parent)
        by_path = {
            folder.folder / correction.file_name: correction for correction in folder.load()[0]
        }
        found = [by_path[path] for path in self.asked.corrections]
        return sorted(found, key=lambda c: (c.source.image, c.source.index))

    def end(self, outcome: Any, *, waits: bool = False) -> None:
        """Train in no time, with this verdict; `waits` for Stop afterwards."""
        parent = self._model
        entry = HistoryEntry(action=FINE_TUNED, parent=parent.digest, parent_name="tiny")
        spec = parent.spec.model_copy(update={"history": (*parent.spec.history, entry)})
        candidate = self._folder / "candidate.safetensors"
        weights = {
            name: -value if "heads" in name else value
            for name, value in parent.network.state_dict().items()
        }
        save_model(_with(parent, weights), spec, candidate)
        before = {HELD_OUT: {"L1": 0.4, "L2": 0.5, "L3": 0.45}}
        after = {HELD_OUT: {"L1": 0.6, "L2": 0.8, "L3": 0.7}}
        verdict = Verdict(outcome=outcome, sentence=f"It is {outcome}.", head="L2")
        result = Result(verdict=verdict, before=before, after=after, seconds=2.0, steps=2)
        told = {"seconds": 1.0, "device": "CPU"}
        events = [
            FinetuneEvent(step=0, fraction=0.0, scores=before, **told),
            FinetuneEvent(step=1, fraction=0.5, loss=0.7, **told),
            FinetuneEvent(step=2, fraction=0.9, loss=0.5, scores=after, result=result, **told),
        ]
        messages = [Message(kind="event", event=event) for event in events]
        self._plan([*messages, *([] if waits else [Message(kind="done")])], candidate, waits)

    def come_from(self, name: str) -> None:
        """Be made from this version."""
        path = self._folder / "candidate.safetensors"
        made = read_model(path)
        entry = made.spec.history[-1].model_copy(update={"parent_name": name})
        spec = made.spec.model_copy(update={"history": (*made.spec.history[:-1], entry)})
        save_model(made.network, spec, path)

    def say(self, kind: Any, text: str) -> None:
        """End with a sentence or a traceback, and no version."""
        self._plan([Message(kind=kind, text=text)], None, False)

    def _plan(self, messages: list[Message], candidate: Path | None, waits: bool) -> None:
        import json

        plan = {
            "messages": [message.model_dump_json() for message in messages],
            "candidate": None if candidate is None else str(candidate),
            "waits": waits,
        }
        (self._folder / "plan.json").write_text(json.dumps(plan))


def _with(model: Any, weights: dict[str, Any]) -> Any:
    from napari_unetpp.models.file import build_network

    network = build_network(model.spec)
    network.load_state_dict(weights)
    return network.eval()


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Any) -> Child:
    """No process trains: one ends with a better model at once, or as the test says."""
    folder = tmp_path / "child"
    folder.mkdir()
    (folder / "stand_in_child.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr("napari_unetpp.widgets.trainer.MODULE", "stand_in_child")
    return Child(folder, tiny_model)


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer()


@pytest.fixture
def open_dock(
    viewer: Any, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], SegmentDock]:
    monkeypatch.setattr("napari_unetpp.widgets.keeper.AUTOSAVE", 50)

    def make() -> SegmentDock:
        _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
        dock.segment_panel.model_box.names.setCurrentText("tiny")
        return dock

    return make


@pytest.fixture
def dock(open_dock: Callable[[], SegmentDock]) -> SegmentDock:
    return open_dock()


@pytest.fixture
def segmented(qtbot: Any, viewer: Any, dock: SegmentDock) -> Callable[..., Any]:
    """Add an image of noise, press Segment, and give the layer of the deepest head."""

    def segment(shape: tuple[int, ...] = SHAPE, seed: int = 0, **fields: Any) -> Any:
        pixels = np.random.default_rng(seed).integers(0, 4000, shape, np.uint16)
        dock.segment_panel.image_box.layer = viewer.add_image(
            fields.pop("data", pixels), **{"name": "cells", **fields}
        )
        dock.segment_panel.button.click()
        settle(qtbot, dock)
        return deepest(dock)

    return segment


@pytest.fixture
def saved(dock: SegmentDock, tiny_store: Store, tiny_model: Any) -> Callable[[], list[Correction]]:
    """The corrections on the disk."""
    folder = CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest))
    return lambda: sorted(folder.load()[0], key=lambda c: (c.source.image, c.source.index))


@pytest.fixture
def errors() -> Callable[[], list[str]]:
    """The sentences that the user was told in this test."""
    start = len(notification_manager.records)

    def told() -> list[str]:
        new = notification_manager.records[start:]
        return [str(n.message) for n in new if n.severity == NotificationSeverity.ERROR]

    return told


def settle(qtbot: Any, dock: SegmentDock) -> None:
    """Wait until no run is on and every layer shows what it should."""
    qtbot.waitUntil(
        lambda: not dock.running and (dock.results is None or dock.results.idle), timeout=30_000
    )


def deepest(dock: SegmentDock) -> Any:
    assert dock.results is not None
    return dock.results.layers["L3"].layer


def stroke(layer: Any, *place: int, size: int = 5) -> None:
    """Paint over what is there."""
    layer.brush_size = size
    layer.paint(place, 1 - min(int(layer.data[place]), 1))


def press(qtbot: Any, dock: SegmentDock, *, timeout: int = 30_000) -> None:
    """Fine-tune, and wait for the end."""
    press_only(dock)
    finish(qtbot, dock, timeout=timeout)


def press_only(dock: SegmentDock) -> None:
    button = dock.finetune_part.panel.button
    assert button.text() == "Fine-tune"
    button.click()


def finish(qtbot: Any, dock: SegmentDock, *, timeout: int = 30_000) -> None:
    qtbot.waitUntil(lambda: not dock.finetune_part.running, timeout=timeout)
    assert dock.finetune_part.panel.button.text() == "Fine-tune"


def wait_for_version(qtbot: Any, dock: SegmentDock, name: str = "tiny+1") -> None:
    """Wait until a version is chosen and the image is segmented with it."""
    qtbot.waitUntil(lambda: dock.segment_panel.model_box.name == name, timeout=30_000)
    qtbot.waitUntil(
        lambda: dock.results is not None and dock.results.provenance["model"] == name,
        timeout=30_000,
    )
    settle(qtbot, dock)


def pick(box: Any, layer: Any) -> None:
    """Choose a layer as a user does, who may take the one that is chosen already."""
    box.layer = layer
    box.activated.emit(box.currentIndex())


def gone(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    return False


def own_mask(shape: tuple[int, ...] = SHAPE) -> Any:
    labels = np.zeros(shape, np.uint8)
    labels[..., 10:20, 12:30] = 1
    return labels


def discs(shape: tuple[int, int] = LARGER, seed: int = 0) -> tuple[Any, Any]:
    """Bright discs with noise, and which pixels they cover."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for _ in range(shape[0] * shape[1] // 1000):
        away = np.hypot(y - rng.integers(shape[0]), x - rng.integers(shape[1]))
        mask |= away < rng.integers(6, 12)
    image = 800.0 + 2000 * mask + 300 * rng.standard_normal(shape)
    return np.clip(image, 0, 65535).astype(np.uint16), mask


# What is painted is on the disk


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


# What is learnt from


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
    viewer.add_image(discs()[0], name="cells")
    viewer.add_labels(np.zeros(LARGER, np.uint8))
    dock.finetune_part.panel.checked_button.click()
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    assert saved()[0].known.all()
    assert not saved()[0].classes.any()


def test_scribbles_are_known_where_they_are(qtbot, viewer, dock, child):
    image = viewer.add_image(discs()[0], name="cells")
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
    viewer.add_image(discs()[0], name="cells")
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


# Which layers are masks of what


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


# What comes of it


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


# The loop


def test_the_loop_goes_on_to_the_next_plane(qtbot, viewer, dock, segmented, child):
    dock.segment_panel.where_row.button("plane").click()
    layer = segmented((3, *SHAPE))
    viewer.dims.set_current_step(0, 0)
    dock.segment_panel.where_row.button("plane").click()
    stroke(layer, 0, 10, 12)
    dock.finetune_and_go_on()
    finish(qtbot, dock)
    wait_for_version(qtbot, dock)
    assert viewer.dims.current_step[0] == 1
    assert dock.results.computed.keys() == {(1,)}


def test_the_loop_goes_on_to_the_next_image(qtbot, viewer, dock, segmented, child):
    first = segmented()
    second = viewer.add_image(np.random.default_rng(1).integers(0, 4000, SHAPE), name="second")
    stroke(first, 10, 12)
    dock.finetune_and_go_on()
    finish(qtbot, dock)
    wait_for_version(qtbot, dock)
    assert dock.segment_panel.image is second


def test_the_loop_ends_with_the_last_plane_of_the_last_image(qtbot, viewer, dock, segmented, child):
    layer = segmented((2, *SHAPE))
    viewer.dims.set_current_step(0, 1)
    stroke(layer, 1, 10, 12)
    dock.finetune_and_go_on()
    finish(qtbot, dock)
    wait_for_version(qtbot, dock)
    assert dock.segment_panel.image.name == "cells"


def test_the_loop_goes_on_where_the_new_version_is_no_better(
    qtbot, viewer, dock, segmented, child, tiny_store
):
    child.end("not better")
    dock.segment_panel.where_row.button("plane").click()
    layer = segmented((3, *SHAPE))
    viewer.dims.set_current_step(0, 0)
    dock.segment_panel.where_row.button("plane").click()
    stroke(layer, 0, 10, 12)
    dock.finetune_and_go_on()
    finish(qtbot, dock)
    settle(qtbot, dock)
    assert viewer.dims.current_step[0] == 1
    assert (1,) in dock.results.computed
    assert "tiny+1" not in tiny_store.names()


def test_a_run_of_the_old_version_ends_for_the_new_one(qtbot, viewer, dock, segmented, child):
    layer = segmented((60, *SHAPE))
    stroke(layer, 0, 10, 12)
    press_only(dock)
    dock.segment_panel.tile_box.setValue(256)  # other settings: all planes again
    dock.segment()
    finish(qtbot, dock)
    qtbot.waitUntil(
        lambda: dock.results is not None and dock.results.provenance["model"] == "tiny+1",
        timeout=30_000,
    )
    settle(qtbot, dock)


# What goes wrong


def test_without_edits_it_is_told_in_one_sentence(qtbot, dock, segmented, child, errors):
    segmented()
    press(qtbot, dock)
    (error,) = errors()
    assert "Nothing was corrected yet" in error


def test_without_any_mask_it_is_told_in_one_sentence(qtbot, viewer, dock, child, errors):
    viewer.add_image(discs()[0])
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


# After a crash


@pytest.fixture
def crashed(tiny_store: Store, tiny_model: Any) -> Callable[..., Any]:
    """Leave a correction as a session that crashed; gives its labels."""

    def leave(image: Any, name: str = "cells", index: tuple[int, ...] = ()) -> Any:
        plane = image[index]
        labels = own_mask(plane.shape)
        source = Source(image=name, shape=image.shape, index=index, layer="of before")
        correction = correct(plane[None], labels, kind="classes", source=source)
        CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest)).save(correction)
        return labels

    return leave


def offer(dock: SegmentDock) -> str:
    panel = dock.finetune_part.panel
    shown = panel.restore_row.isVisibleTo(panel)
    assert shown == bool(panel.restore_label.text())
    return str(panel.restore_label.text())


def restore(qtbot: Any, dock: SegmentDock) -> None:
    with qtbot.waitSignal(dock.finetune_part.recovery.ended, timeout=10_000):
        dock.finetune_part.panel.restore_button.click()


def test_corrections_of_an_earlier_session_are_brought_back(qtbot, viewer, dock, child, crashed):
    image = np.random.default_rng(0).integers(0, 4000, (3, *SHAPE), np.uint16)
    labels = crashed(image, index=(1,))
    viewer.add_image(image, name="cells", scale=(2, 0.5, 0.5))
    assert "1 corrected plane of this image" in offer(dock)
    restore(qtbot, dock)
    assert not offer(dock)
    layer = viewer.layers["cells · corrected"]
    np.testing.assert_array_equal(layer.data[1], labels)
    assert not layer.data[[0, 2]].any()
    np.testing.assert_allclose(layer.scale, (2, 0.5, 0.5))
    press(qtbot, dock)
    (correction,) = child.learnt()
    np.testing.assert_array_equal(correction.classes, labels)


def test_closing_and_opening_the_dock_brings_painting_back(
    qtbot, viewer, dock, open_dock, segmented
):
    layer = segmented()
    stroke(layer, 10, 12)
    painted = layer.data.copy()
    viewer.window.remove_dock_widget(dock)
    for old in list(viewer.layers)[1:]:
        viewer.layers.remove(old)
    again = open_dock()
    assert "1 corrected plane" in offer(again)
    restore(qtbot, again)
    np.testing.assert_array_equal(viewer.layers["cells · corrected"].data, painted)


def test_painting_on_restored_corrections_replaces_them(qtbot, viewer, dock, crashed, saved):
    image = np.random.default_rng(0).integers(0, 4000, SHAPE, np.uint16)
    crashed(image)
    viewer.add_image(image, name="cells")
    restore(qtbot, dock)
    layer = viewer.layers["cells · corrected"]
    stroke(layer, 40, 60)
    qtbot.waitUntil(lambda: saved()[0].classes[40, 60] == 1, timeout=10_000)
    (kept,) = dock.finetune_part.keeper.kept.values()
    folder = kept.path.parent
    qtbot.waitUntil(
        lambda: [k.path for k in dock.finetune_part.keeper.kept.values()] == list(folder.iterdir()),
        timeout=10_000,
    )
    dock.finetune_part.offer_recovery()
    assert not offer(dock)


def test_what_was_known_stays_all_that_is_known(qtbot, viewer, dock, tiny_store, tiny_model, saved):
    image = np.random.default_rng(0).integers(0, 4000, SHAPE, np.uint16)
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:9, 5:9] = 1
    source = Source(image="cells", shape=SHAPE, layer="of before")
    near = correct(
        image[None], labels, kind="classes", trust="margin", predicted=0 * labels, source=source
    )
    CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest)).save(near)
    viewer.add_image(image, name="cells")
    restore(qtbot, dock)
    stroke(viewer.layers["cells · corrected"], 40, 60)
    qtbot.waitUntil(lambda: saved()[0].classes[40, 60] == 1, timeout=10_000)
    (correction,) = saved()
    painted = viewer.layers["cells · corrected"].data != labels
    np.testing.assert_array_equal(correction.known, near.known | painted)


def test_restored_planes_mean_what_they_meant(qtbot, viewer, dock, tiny_store, tiny_model, saved):
    """Scribbles in one plane, classes in another, more of them than the model has."""
    image = np.random.default_rng(0).integers(0, 4000, (2, *SHAPE), np.uint16)
    folder = CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest))
    for z, kind in enumerate(("scribbles", "classes")):
        labels = 3 * own_mask()
        source = Source(image="cells", shape=image.shape, index=(z,), layer="of before")
        folder.save(correct(image[z][None], labels, kind=kind, source=source))
    before = saved()
    viewer.add_image(image, name="cells")
    restore(qtbot, dock)
    layer = viewer.layers["cells · corrected"]
    for z in (0, 1):
        layer.brush_size = 3
        layer.paint((z, 40, 50), 2)
    qtbot.waitUntil(lambda: all(c.classes[40, 50] > 0 for c in saved()), timeout=10_000)
    after = saved()
    assert [c.file_name for c in after] == [c.file_name for c in before]
    scribbled, classes = after
    assert scribbled.known.sum() == own_mask().sum() + (layer.data[0] == 2).sum()
    assert (scribbled.classes.max(), scribbled.classes[40, 50]) == (2, 1)
    assert classes.known.all()
    assert (classes.classes.max(), classes.classes[40, 50]) == (3, 2)


def test_layers_of_a_dock_before_are_no_masks_of_ones_own(
    qtbot, viewer, dock, open_dock, segmented, child, errors
):
    segmented()
    viewer.window.remove_dock_widget(dock)
    again = open_dock()
    press(qtbot, again)
    (told,) = errors()
    assert "Nothing was corrected" in told


@pytest.fixture
def other_family(tiny_store: Store, make_model: Any) -> str:
    """The name of a model that has nothing to do with "tiny"."""
    other = make_model(name="other", widths=(4, 6))
    save_model(other.network, other.spec, tiny_store.folder / "other.safetensors")
    return "other"


@pytest.mark.parametrize("copied", [True, False])
def test_what_is_painted_in_layers_of_a_dock_before_counts_for_good(
    qtbot, viewer, dock, open_dock, segmented, child, saved, other_family, monkeypatch, copied
):
    if not copied:
        monkeypatch.setattr("napari_unetpp.widgets.baseline.COPIED", 1)
    layer = segmented((3, *SHAPE))
    viewer.window.remove_dock_widget(dock)
    again = open_dock()
    qtbot.wait(50)
    keeper = again.finetune_part.keeper
    mask = keeper.mask_of(layer)
    qtbot.waitUntil(lambda: mask.baseline.is_complete, timeout=10_000)
    stroke(layer, 2, 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    for name in (other_family, "tiny"):
        again.segment_panel.model_box.refresh(name)
        qtbot.wait(50)
    qtbot.waitUntil(lambda: {k.mask for k in keeper.kept.values()} == {keeper.mask_of(layer)})
    layer.undo()
    qtbot.waitUntil(lambda: not saved(), timeout=10_000)
    layer.redo()
    press(qtbot, again)
    (correction,) = child.learnt()
    assert correction.source.index == (2,)
    np.testing.assert_array_equal(correction.classes, layer.data[2])


def test_what_a_script_did_for_one_image_is_not_learnt_with_another(
    qtbot, viewer, dock, open_dock, segmented, child, saved, errors
):
    layer = segmented()
    viewer.window.remove_dock_widget(dock)
    again = open_dock()
    qtbot.wait(50)
    layer.data[10, 12] = 1 - layer.data[10, 12]  # no event tells of this
    pixels = np.random.default_rng(1).integers(0, 4000, SHAPE, np.uint16)
    again.segment_panel.image_box.layer = viewer.add_image(pixels, name="others")
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    assert saved()[0].source.image == "cells"
    press(qtbot, again)
    (told,) = errors()
    assert "Nothing was corrected" in told


def test_a_duplicated_layer_has_corrections_of_its_own(qtbot, viewer, dock, child):
    viewer.add_image(np.random.default_rng(0).integers(0, 4000, SHAPE, np.uint16), name="cells")
    first = viewer.add_labels(own_mask(SHAPE), name="mine")
    dock.finetune_part.panel.mask_box.layer = first
    dock.finetune_part.mark_checked()
    second = viewer.add_labels(own_mask(SHAPE), name="copy", metadata=dict(first.metadata))
    dock.finetune_part.panel.mask_box.layer = second
    dock.finetune_part.mark_checked()
    keeper = dock.finetune_part.keeper
    assert keeper.mask_of(first).identity != keeper.mask_of(second).identity


@pytest.mark.parametrize(
    ("name", "shape"), [("others", SHAPE), ("cells", (2, *SHAPE))], ids=["name", "shape"]
)
def test_they_are_not_offered_for_another_image(viewer, dock, crashed, name, shape):
    rng = np.random.default_rng(0)
    crashed(rng.integers(0, 4000, SHAPE, np.uint16))
    viewer.add_image(rng.integers(0, 4000, shape, np.uint16), name=name)
    assert not offer(dock)


def test_another_image_of_the_same_name_is_told_in_one_sentence(
    qtbot, viewer, dock, crashed, errors, saved
):
    rng = np.random.default_rng(0)
    crashed(rng.integers(0, 4000, SHAPE, np.uint16))
    viewer.add_image(rng.integers(0, 4000, SHAPE, np.uint16), name="cells")
    restore(qtbot, dock)
    (error,) = errors()
    assert "another image" in error
    assert len(saved()) == 1


def test_each_image_of_a_name_gets_its_own_corrections_back(
    qtbot, viewer, dock, crashed, tiny_store, tiny_model
):
    rng = np.random.default_rng(0)
    image, later = (rng.integers(0, 4000, (2, *SHAPE), np.uint16) for _ in range(2))
    labels = crashed(image, index=(1,))
    earlier = Source(
        image="cells", shape=image.shape, index=(1,), layer="before that", when="2026-01-02"
    )
    folder = CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest))
    folder.save(correct(image[1][None], 0 * labels, kind="classes", source=earlier))
    crashed(later, index=(1,))
    viewer.add_image(image, name="cells")
    assert "1 corrected plane of this image" in offer(dock)
    restore(qtbot, dock)
    np.testing.assert_array_equal(viewer.layers["cells · corrected"].data[1], labels)
    assert not offer(dock)  # what is left is of the other one


def test_what_was_painted_on_other_pixels_is_not_learnt_with_these(
    qtbot, viewer, dock, segmented, child, saved, errors
):
    stroke(segmented(), 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    (before,) = saved()
    image = dock.segment_panel.image
    image.data = image.data[::-1].copy()
    press(qtbot, dock)
    (told,) = errors()
    assert "Nothing was corrected" in told
    (after,) = saved()
    np.testing.assert_array_equal(after.image, before.image)


def test_what_a_layer_shows_is_not_offered(qtbot, viewer, dock, segmented, saved):
    stroke(segmented(), 10, 12)
    qtbot.waitUntil(lambda: bool(dock.finetune_part.keeper.kept), timeout=10_000)
    second = viewer.add_image(np.zeros((30, 41), np.uint8), name="second")
    box = dock.segment_panel.image_box
    first = dock.segment_panel.image
    box.layer = second
    box.layer = first
    assert not offer(dock)


def test_a_half_written_correction_is_no_obstacle(
    qtbot, viewer, dock, crashed, tiny_store, tiny_model
):
    image = np.random.default_rng(0).integers(0, 4000, SHAPE, np.uint16)
    crashed(image)
    folder = tiny_store.corrections_folder(tiny_model.digest)
    (whole,) = folder.iterdir()
    (folder / "0-0.safetensors").write_bytes(whole.read_bytes()[:100])
    viewer.add_image(image, name="cells")
    assert "1 corrected plane" in offer(dock)


# With a child that really trains


@pytest.fixture
def corrected(viewer: Any, dock: SegmentDock) -> Any:
    """An image that the model segments badly, and a mask of one's own."""
    pixels, mask = discs()
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
    np.testing.assert_array_equal(corrected.data, discs()[1])


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
