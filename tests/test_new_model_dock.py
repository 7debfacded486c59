"""New model…: the buttons that the user presses, and what is there afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QToolButton

from napari_unetpp.models import HistoryEntry, Store
from napari_unetpp.models.file import save_model
from napari_unetpp.models.spec import FINE_TUNED
from napari_unetpp.network import Architecture
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.training.corrections import Source, correct
from napari_unetpp.widgets import SegmentDock
from napari_unetpp.widgets.new_model_dialog import NewModelDialog

SHAPE = (150, 212)
PATIENCE = 90_000
"""Milliseconds to wait for a child that really trains, on a machine that is busy."""
SMALL = "4, 6"


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer()


@pytest.fixture
def dock(viewer: Any, tiny_store: Store, monkeypatch: pytest.MonkeyPatch) -> SegmentDock:
    monkeypatch.setattr("napari_unetpp.widgets.keeper.AUTOSAVE", 50)
    _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
    dock.segment_panel.model_box.names.setCurrentText("tiny")
    dock.segment_panel.device_box.setCurrentText("cpu")
    return dock


@pytest.fixture
def discs(viewer: Any, dock: SegmentDock) -> Any:
    """An image of bright discs; gives which pixels they cover."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = np.zeros(SHAPE, bool)
    for _ in range(30):
        away = np.hypot(y - rng.integers(SHAPE[0]), x - rng.integers(SHAPE[1]))
        mask |= away < rng.integers(6, 12)
    image = (800 + 2000 * mask + 300 * rng.standard_normal(SHAPE)).clip(0).astype(np.uint16)
    viewer.add_image(image, name="cells")
    return mask


@pytest.fixture
def painted(viewer: Any, discs: Any) -> Any:
    """A layer of the user's own with the discs."""
    return viewer.add_labels(discs.astype(np.uint8), name="mine")


@pytest.fixture
def dialog(qtbot: Any, dock: SegmentDock, painted: Any) -> NewModelDialog:
    dialog = open_dialog(dock)
    qtbot.waitUntil(lambda: "parameters" in dialog.figures.text(), timeout=30_000)
    return dialog


def open_dialog(dock: SegmentDock) -> NewModelDialog:
    """Take New model… from the menu."""
    (more,) = dock.segment_panel.model_box.findChildren(QToolButton)
    (action,) = [a for a in more.menu().actions() if a.text() == "New model…"]
    action.trigger()
    assert dock.new_model_part.dialog is not None
    return dock.new_model_part.dialog


def choose(box: Any, key: object) -> None:
    number = box.findData(key)
    assert number >= 0, f"{key} is not offered"
    box.setCurrentIndex(number)


def own_widths(dialog: NewModelDialog, widths: str) -> None:
    dialog.size_row.box.setCurrentIndex(dialog.size_row.box.count() - 1)
    dialog.size_row.edit.setText(widths)


def train(qtbot: Any, dock: SegmentDock, name: str, network: str, widths: str) -> None:
    """Make a model by the buttons, and wait until the image is segmented with it."""
    dialog = open_dialog(dock)
    qtbot.keyClicks(dialog.name_edit, name)
    choose(dialog.network_box, network)
    own_widths(dialog, widths)
    dialog.minutes_box.setValue(0.1)
    qtbot.waitUntil(dialog.train_button.isEnabled, timeout=10_000)
    qtbot.mouseClick(dialog.train_button, Qt.MouseButton.LeftButton)
    assert dock.new_model_part.dialog is None
    assert dock.finetune_fold.is_open
    assert dock.finetune_part.panel.button.text() == "Stop (keep best)"
    wait_for(qtbot, dock, name)


def wait_for(qtbot: Any, dock: SegmentDock, name: str) -> None:
    qtbot.waitUntil(lambda: dock.segment_panel.model_box.name == name, timeout=PATIENCE)
    qtbot.waitUntil(
        lambda: dock.results is not None and dock.results.provenance["model"] == name,
        timeout=30_000,
    )
    settle(qtbot, dock)


def settle(qtbot: Any, dock: SegmentDock) -> None:
    qtbot.waitUntil(
        lambda: not dock.running and (dock.results is None or dock.results.idle), timeout=30_000
    )


def corrections(store: Store, name: str) -> set[str]:
    folder = store.corrections_folder(store.lineage(name))
    return {path.name for path in folder.glob("[!.]*")}


# Which model


def test_it_begins_with_what_is_recommended_and_says_how_large_it_is(dialog):
    assert dialog.network_box.currentText() == "UNet++ (recommended)"
    assert dialog.size_row.box.currentText() == "small: 16 … 256, 2.3 M parameters"
    assert "UNet++, heads L1 to L4: 2 263 476 parameters, 227 GFLOP" in dialog.figures.text()
    assert dialog.classes_edit.text() == "foreground"
    assert "planes of 1 channel, as tiny" in dialog.note.text()


@pytest.mark.parametrize(
    ("name", "architecture", "heads", "small"),
    [
        ("UNet++", Architecture(), None, 16),
        ("UNet++ without deep supervision", Architecture(), (4,), 16),
        ("UNet+", Architecture(skip="unet+"), None, 16),
        ("U-Net", Architecture(skip="plain"), None, 16),
        ("Wide U-Net", Architecture(skip="plain"), None, 18),
    ],
)
def test_a_network_by_name_sets_the_parts(qtbot, dialog, name, architecture, heads, small):
    qtbot.keyClicks(dialog.name_edit, "new")
    choose(dialog.parts.block_box, "dense")
    choose(dialog.network_box, name)
    new = dialog.new_model
    assert (new.architecture, new.heads) == (architecture, heads)
    assert (new.widths[0], len(new.widths)) == (small, 5)
    assert dialog.network_box.currentData() == name
    dialog.size_row.box.setCurrentIndex(2)
    assert dialog.new_model.widths == tuple((35 if small == 18 else 32) << n for n in range(5))


def test_another_part_makes_it_an_own_network_and_back(qtbot, dialog):
    choose(dialog.network_box, "Wide U-Net")
    choose(dialog.parts.block_box, "residual")
    assert dialog.network_box.currentData() == "own"
    qtbot.waitUntil(lambda: "U-Net, residual blocks, head L4" in dialog.figures.text())
    choose(dialog.parts.block_box, "plain")
    assert dialog.network_box.currentData() == "Wide U-Net"
    choose(dialog.network_box, "own")
    assert dialog.parts_fold.is_open


def test_what_does_not_go_together_is_not_offered(dialog):
    parts = dialog.parts
    ups = lambda: {parts.up_box.itemData(n) for n in range(parts.up_box.count())}  # noqa: E731
    assert ups() == {"transposed", "nearest", "sub-pixel", "unpooling"}
    choose(parts.up_box, "unpooling")
    choose(parts.down_box, "average")
    assert ups() == {"transposed", "nearest", "sub-pixel"}
    assert parts.up_box.currentData() == "transposed"
    choose(parts.down_box, "dilated")
    assert (ups(), parts.up_box.isEnabled()) == ({"none"}, False)
    choose(parts.down_box, "max")
    assert parts.up_box.currentData() == "transposed"
    assert not parts.groups_box.isEnabled()
    choose(parts.block_box, "grouped")
    assert parts.groups_box.isEnabled()
    assert parts.heads_box.isEnabled()
    choose(parts.skip_box, "none")
    assert not parts.heads_box.isEnabled()  # there is just one


BAD = {
    "no name": (lambda d: d.name_edit.setText(" "), "Give the model a name."),
    "taken": (lambda d: d.name_edit.setText("Tiny"), "There is a model 'Tiny' already"),
    "characters": (lambda d: d.name_edit.setText("../x"), "can't be the name of a model"),
    "no class": (lambda d: d.classes_edit.setText("a, "), "what it finds is missing"),
    "a class twice": (lambda d: d.classes_edit.setText("a, a"), "one name twice"),
    "words": (lambda d: own_widths(d, "8, many"), "The widths '8, many' can't be used"),
    "one": (lambda d: own_widths(d, "8"), "two to nine"),
    "ten": (lambda d: own_widths(d, "8 " * 10), "two to nine"),
    "none": (lambda d: own_widths(d, "0, 8"), "from 1 to 8192"),
    "groups": (
        lambda d: (choose(d.parts.block_box, "grouped"), own_widths(d, "8, 12")),
        "The widths 8, 12 can't be divided into 8 groups",
    ),
    "dense": (
        lambda d: (choose(d.parts.block_box, "dense"), own_widths(d, "1, 2")),
        "widths of 2 or more",
    ),
}


@pytest.mark.parametrize(("spoil", "words"), BAD.values(), ids=BAD)
def test_what_can_not_be_is_told_while_typing_and_not_trained(qtbot, dialog, spoil, words):
    qtbot.keyClicks(dialog.name_edit, "new")
    assert dialog.train_button.isEnabled()
    assert dialog.problem.text() == ""
    spoil(dialog)
    assert words in dialog.problem.text()
    assert not dialog.train_button.isEnabled()


def test_without_masks_it_says_what_to_do_and_goes_by_what_is_painted(qtbot, viewer, dock, discs):
    dock.segment_panel.button.click()
    settle(qtbot, dock)
    dialog = open_dialog(dock)
    qtbot.keyClicks(dialog.name_edit, "new")
    assert "nothing to learn from yet: correct a mask" in dialog.problem.text()
    assert not dialog.train_button.isEnabled()
    layer = dock.results.layers["L3"].layer
    layer.paint((10, 12), 1 - int(layer.data[10, 12]))
    qtbot.waitUntil(dialog.train_button.isEnabled, timeout=10_000)
    assert "Learns from 1 plane that you painted." in dialog.note.text()
    dialog.learn_box.setCurrentText("checked planes")
    qtbot.waitUntil(lambda: not dialog.train_button.isEnabled(), timeout=10_000)
    dock.finetune_part.panel.checked_button.click()
    dialog.learn_box.setCurrentText("edited planes")
    dialog.learn_box.setCurrentText("checked planes")
    qtbot.waitUntil(dialog.train_button.isEnabled, timeout=10_000)
    assert dock.finetune_part.panel.learn_box.currentText() == "checked planes"


def test_what_the_model_has_learnt_is_learnt_again(qtbot, dock, discs, tiny_store, tiny_model):
    source = Source(image="cells", shape=SHAPE)
    plane = correct(discs[None], discs.astype(np.uint8), kind="classes", source=source)
    folder = tiny_store.corrections_folder(tiny_model.digest)
    CorrectionFolder(folder).save(plane)
    entry = HistoryEntry(
        action=FINE_TUNED,
        parent=tiny_model.digest,
        corrections=(plane.file_name,),
        contents=(plane.content,),
    )
    spec = tiny_model.spec.model_copy(update={"name": "tiny+1", "history": (entry,)})
    save_model(tiny_model.network, spec, tiny_store.folder / "tiny+1.safetensors")
    dock.segment_panel.model_box.refresh("tiny+1")
    dialog = open_dialog(dock)
    qtbot.keyClicks(dialog.name_edit, "new")
    assert "Learns from 1 plane that tiny+1 has learnt." in dialog.note.text()
    assert dialog.train_button.isEnabled()


def test_it_closes_with_the_model_and_with_the_dock(qtbot, viewer, dock, dialog):
    dock.segment_panel.model_box.names.setCurrentText("nuclei")
    assert dock.new_model_part.dialog is None
    open_dialog(dock)
    viewer.window.remove_dock_widget(dock)
    assert dock.new_model_part.dialog is None


def test_cancel_makes_nothing(qtbot, dock, dialog, tiny_store):
    names = tiny_store.names()
    qtbot.keyClicks(dialog.name_edit, "new")
    dialog.cancel_button.click()
    assert dock.new_model_part.dialog is None
    assert not dock.finetune_part.running
    assert tiny_store.names() == names


# With a child that really trains


@pytest.mark.slow
def test_a_new_model_is_kept_chosen_and_used(qtbot, dock, painted, tiny_store):
    dock.segment_panel.button.click()
    settle(qtbot, dock)
    before = tiny_store.path("tiny").read_bytes()
    train(qtbot, dock, "my u-net", "U-Net", SMALL)
    panel = dock.finetune_part.panel
    assert (
        "Kept as my u-net, which is used now; Undo goes back to tiny."
        in panel.outcome.verdict.text()
    )
    assert "IoU" in panel.outcome.verdict.text()
    spec = tiny_store.spec("my u-net")
    assert (spec.architecture, spec.widths, spec.heads) == (
        Architecture(skip="plain"),
        (4, 6),
        (1,),
    )
    assert tiny_store.path("tiny").read_bytes() == before
    assert dock.segment_panel.depth_row.choices == ["L1"]
    assert [key for key in dock.heads_panel.boxes if key.startswith("L")] == ["L1"]
    assert dock.heads_panel.next_button.isEnabled()  # one head can be unsure, too
    assert set(panel.curve.heads) == {"L1"}  # and not those of the model before

    # What was painted is there for the new family, and needn't be restored.
    assert tiny_store.lineage("my u-net") != tiny_store.lineage("tiny")
    assert (
        corrections(tiny_store, "my u-net")
        == corrections(tiny_store, "tiny")
        == set(spec.corrections)
    )
    assert not panel.restore_row.isVisibleTo(panel)

    panel.outcome.undo_button.click()
    assert dock.segment_panel.model_box.name == "tiny"
    panel.outcome.redo_button.click()
    assert dock.segment_panel.model_box.name == "my u-net"


@pytest.mark.slow
def test_painting_on_results_is_for_the_new_model_and_for_the_old(qtbot, dock, discs, tiny_store):
    dock.segment_panel.button.click()
    settle(qtbot, dock)
    layer = dock.results.layers["L3"].layer
    layer.data = discs.astype(layer.data.dtype)
    train(qtbot, dock, "new", "UNet++ without deep supervision", SMALL)
    assert tiny_store.spec("new").heads == (1,)
    part = dock.finetune_part
    mask = part.keeper.mask_of(layer)
    assert mask.families == {tiny_store.lineage("tiny"), tiny_store.lineage("new")}

    # Once more, from the new one, with nothing else painted.
    part.panel.form.minutes_box.setValue(0.1)
    part.panel.button.click()
    qtbot.waitUntil(lambda: not part.busy, timeout=PATIENCE)
    assert "IoU on held-out corrections" in part.panel.outcome.verdict.text()
    if part.panel.outcome.keep_button.isVisibleTo(part.panel):
        part.panel.outcome.keep_button.click()
    wait_for(qtbot, dock, "new+1")
    spec = tiny_store.spec("new+1")
    assert spec.parent_name == "new"
    assert tiny_store.lineage("new+1") == tiny_store.lineage("new")
    assert set(spec.corrections) == corrections(tiny_store, "new")
    np.testing.assert_array_equal(layer.data, discs)


@pytest.mark.slow
def test_stop_keeps_what_there_is(qtbot, dock, painted, tiny_store):
    dialog = open_dialog(dock)
    qtbot.keyClicks(dialog.name_edit, "short")
    own_widths(dialog, SMALL)
    dialog.minutes_box.setValue(60)
    qtbot.mouseClick(dialog.train_button, Qt.MouseButton.LeftButton)
    panel = dock.finetune_part.panel
    qtbot.waitUntil(lambda: "Step 2" in panel.message.text(), timeout=PATIENCE)

    again = open_dialog(dock)  # one at a time
    qtbot.keyClicks(again.name_edit, "other")
    again.train_button.click()
    assert "A training is on" in again.problem.text()

    panel.button.click()
    wait_for(qtbot, dock, "short")
    assert tiny_store.spec("short").heads == (1,)
