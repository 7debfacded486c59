"""How deep? in the dock, through the buttons that a user presses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QThreadPool

from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment, segment_region_tiles
from napari_unetpp.models import Store
from napari_unetpp.widgets import SegmentDock

SHAPE = (48, 68)
CPU = SegmentOptions(device="cpu")


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer()


@pytest.fixture
def dock(viewer: Any, tiny_store: Store) -> SegmentDock:
    _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
    dock.segment_panel.model_box.names.setCurrentText("tiny")
    return dock


@pytest.fixture
def ask(qtbot: Any, dock: SegmentDock) -> Callable[[], Any]:
    """Press "How deep?", wait for the figures, and give the window."""

    def press() -> Any:
        dock.segment_panel.how_deep_button.click()
        wait(qtbot, dock)
        return dock.depths_part.dialog

    return press


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each head of each tile takes a while, so that there is time to cancel."""

    def slowly(*args: Any, **kwargs: Any) -> Any:
        seen, events = segment_region_tiles(*args, **kwargs)

        def delayed() -> Iterator[Any]:
            for event in events:
                time.sleep(0.2)
                yield event

        return seen, delayed()

    monkeypatch.setattr("napari_unetpp.evaluation.how_deep.segment_region_tiles", slowly)


def wait(qtbot: Any, dock: SegmentDock) -> None:
    qtbot.waitUntil(lambda: not dock.depths_part.running, timeout=60_000)


def run(qtbot: Any, dock: SegmentDock) -> None:
    dock.segment_panel.button.click()
    qtbot.waitUntil(lambda: not dock.running, timeout=30_000)
    qtbot.waitUntil(lambda: dock.results.idle, timeout=10_000)


def noise(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 4000, shape, np.uint16)


def column(dialog: Any, name: str) -> list[str]:
    table = dialog.table
    names = [table.horizontalHeaderItem(n).text() for n in range(table.columnCount())]
    return [table.item(row, names.index(name)).text() for row in range(table.rowCount())]


def marked(dialog: Any) -> list[str]:
    marks = [dialog.table.item(n, dialog.table.columnCount() - 1).text() for n in range(4)]
    return [h for h, mark in zip(column(dialog, "head"), marks, strict=True) if mark]


# --- the figures, and taking a head


def test_heads_are_compared_with_masks_and_one_is_taken(viewer, dock, ask, tiny_model):
    image = viewer.add_image(noise(SHAPE), name="cells")
    masks = segment(image.data, tiny_model, options=CPU).masks()
    viewer.add_labels(masks[1].astype(int), name="truth")

    dialog = ask()

    assert dialog.mask_box.currentText() == "truth"
    assert column(dialog, "head") == ["L1", "L2", "L3", "ensemble"]
    assert column(dialog, "IoU")[1] == column(dialog, "Dice")[1] == "1.000"
    assert float(column(dialog, "IoU")[0]) < 1
    assert all(float(text.replace(",", "")) > 0 for text in column(dialog, "ms/megapixel"))
    assert set(dialog.plot.heads) == {"L1", "L2", "L3", "ensemble"}
    assert "1 plane of 48 × 68 pixels" in dialog.note.text()
    assert marked(dialog) == ["L2"]
    assert dialog.verdict.text().startswith("L2 is the best")
    dialog.use_button.click()
    assert dock.segment_panel.depth_row.value == "L2"
    assert dock.depths_part.dialog is None


def test_another_tolerance_recommends_another_head_and_measures_nothing(
    viewer, dock, ask, tiny_model, monkeypatch
):
    image = viewer.add_image(noise(SHAPE))
    viewer.add_labels(segment(image.data, tiny_model, options=CPU).masks()[1].astype(int))
    dialog = ask()
    monkeypatch.setattr("napari_unetpp.evaluation.how_deep.measure", None)

    dialog.tolerance_box.setValue(100)

    assert marked(dialog) == ["L1"]
    assert dialog.use_button.text() == "Use L1"
    assert dialog.verdict.text().startswith("L1 is within")
    dialog.tolerance_box.setValue(0)
    assert marked(dialog) == ["L2"]
    dialog.table.setCurrentCell(2, 0)  # the user may take what isn't recommended
    dialog.use_button.click()
    assert dock.segment_panel.depth_row.value == "L3"


def test_without_masks_heads_are_compared_with_the_deepest(viewer, dock, ask):
    viewer.add_image(noise(SHAPE))

    dialog = ask()

    assert dialog.mask_box.layer is None
    assert dialog.mask_box.currentText() == "no masks: agreement with L3"
    assert column(dialog, "IoU with L3")[2] == "1.000"
    assert "how alike" in dialog.note.text()


def test_all_heads_are_measured_whatever_the_depth(viewer, dock, ask):
    viewer.add_image(noise(SHAPE))
    dock.segment_panel.depth_row.button("L1").click()

    assert column(ask(), "head") == ["L1", "L2", "L3", "ensemble"]


def test_masks_without_an_object_recommend_nothing(viewer, dock, ask):
    viewer.add_image(noise(SHAPE))
    dock.heads_panel.slider.setValue(1.0)  # nothing is found

    dialog = ask()

    assert column(dialog, "Dice") == ["–"] * 4
    assert marked(dialog) == []
    assert "nothing to find" in dialog.verdict.text()
    assert not dialog.use_button.isEnabled()
    dialog.tolerance_box.setValue(3)
    dialog.table.setCurrentCell(0, 0)
    assert dialog.use_button.text() == "Use L1"  # its time may be reason enough


def test_taking_the_ensemble_shows_it(qtbot, viewer, dock, ask, tiny_model):
    image = viewer.add_image(noise(SHAPE))
    mean = segment(image.data, tiny_model, options=CPU).ensemble()[0] >= 127.5
    viewer.add_labels(mean.astype(int))
    dock.segment_panel.depth_row.button("L1").click()
    dialog = ask()
    assert marked(dialog) == ["ensemble"]
    dock.segment_panel.depth_row.button("L3").click()
    run(qtbot, dock)

    dialog.use_button.click()

    assert dock.segment_panel.depth_row.value == "L3"
    assert dock.results.shown.visible["ensemble"]
    assert dock.heads_panel.boxes["ensemble"].isChecked()


# --- which masks


def test_of_corrected_masks_just_the_edited_planes_count(qtbot, viewer, dock, ask):
    viewer.add_image(noise((4, *SHAPE)))
    run(qtbot, dock)
    layer = dock.results.layers["L2"].layer
    layer.brush_size = 1
    layer.paint((2, 10, 12), 1 - layer.data[2, 10, 12])

    dialog = ask()

    assert dialog.mask_box.layer is layer
    assert "1 plane of" in dialog.note.text()
    assert "edited planes" in dialog.note.text()
    assert float(column(dialog, "IoU")[1]) > 0.98  # L2 itself, but for a stroke
    assert marked(dialog) == ["L2"]


def test_masks_that_nobody_corrected_are_no_truth(qtbot, viewer, dock, ask):
    viewer.add_image(noise(SHAPE))
    run(qtbot, dock)
    dialog = ask()
    assert dialog.mask_box.layer is None  # none of ours is suggested

    dialog.mask_box.layer = dock.results.layers["L2"].layer
    dialog.button.click()
    wait(qtbot, dock)

    assert "no plane that is known to be right" in dialog.note.text()


def test_masks_of_another_image_are_no_truth(qtbot, viewer, dock, ask):
    viewer.add_image(noise(SHAPE), name="cells")
    run(qtbot, dock)
    layer = dock.results.layers["L2"].layer
    layer.paint((10, 12), 1 - layer.data[10, 12])
    dock.segment_panel.image_box.layer = viewer.add_image(noise(SHAPE, seed=1), name="others")
    assert ask().mask_box.layer is None


def test_labels_of_the_users_own_are_not_learnt_by_being_compared(viewer, dock, ask):
    viewer.add_image(noise(SHAPE))
    labels = np.zeros(SHAPE, int)
    labels[5:20, 6:30] = 1
    layer = viewer.add_labels(labels)

    ask()

    keeper = dock.finetune_part.keeper
    assert not keeper.mask_of(layer).counts
    keeper.close()  # saves what counts
    assert not keeper.kept


def test_scribbles_count_where_they_are_painted(viewer, dock, ask, tiny_model):
    image = viewer.add_image(noise(SHAPE))
    mask = segment(image.data, tiny_model, options=CPU).masks()[0]
    scribbles = np.zeros(SHAPE, int)
    scribbles[:, 10:30] = mask[:, 10:30] + 1
    viewer.add_labels(scribbles)
    dock.finetune_part.panel.learn_box.setCurrentIndex(3)

    dialog = ask()

    assert "scribbles" in dialog.note.text()
    assert column(dialog, "IoU")[0] == "1.000"


def test_just_labels_of_the_shape_of_the_image_are_offered(viewer, dock, ask):
    viewer.add_labels(np.zeros(SHAPE[::-1], int), name="other")
    fitting = viewer.add_labels(np.zeros(SHAPE, int), name="fitting")
    viewer.add_image(noise(SHAPE))

    dialog = ask()

    box = dialog.mask_box
    assert [box.itemText(n) for n in range(1, box.count())] == ["fitting"]
    assert "fitting has no plane that is known to be right" in dialog.note.text()
    viewer.layers.remove(fitting)
    assert box.layer is None


def test_edited_planes_of_a_volume(qtbot, viewer, dock, ask, tiny_store, make_model):
    from napari_unetpp.models.file import save_model

    model = make_model(dims=3, name="deep")
    save_model(model.network, model.spec, tiny_store.folder / "deep.safetensors")
    image = viewer.add_image(noise((12, *SHAPE)))
    dock.segment_panel.model_box.refresh("deep")
    found = segment(image.data, model, axes="ZYX", options=CPU).masks()[0]
    labels = np.zeros_like(found, dtype=int)
    labels[[3, 8]] = found[[3, 8]]
    viewer.add_labels(labels)

    dialog = ask()

    assert "1 volume of 12 × 48 × 68 voxels" in dialog.note.text()
    assert "ms/megavoxel" in dialog.table.horizontalHeaderItem(1).text()
    assert column(dialog, "IoU")[0] == "1.000"  # planes without labels don't count


# --- what is remembered


def test_the_choice_is_remembered_for_the_model(make_napari_viewer, viewer, dock, ask, tiny_model):
    image = viewer.add_image(noise(SHAPE))
    viewer.add_labels(segment(image.data, tiny_model, options=CPU).masks()[1].astype(int))
    assert "ms/" not in dock.segment_panel.depth_row.button("L1").toolTip()
    ask().use_button.click()

    other = make_napari_viewer()
    _, dock = other.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
    panel = dock.segment_panel
    assert "ms/" not in panel.depth_row.button("L1").toolTip()  # that is another model
    panel.model_box.names.setCurrentText("tiny")

    assert panel.depth_row.value == "L2"
    assert "ms/megapixel on CPU" in panel.depth_row.button("L1").toolTip()
    assert "you took it" in panel.depth_row.button("L2").toolTip()
    panel.depth_row.button("L3").click()
    panel.model_box.refresh()  # the same model: what the user chose stays
    assert panel.depth_row.value == "L3"
    panel.device_box.setCurrentText("cpu")  # for which nothing was measured
    assert "ms/" not in panel.depth_row.button("L1").toolTip()


# --- cancelling, and what else is on


def test_cancel_ends_it_and_measure_begins_anew(qtbot, viewer, dock, slow):
    viewer.add_image(noise(SHAPE))
    dock.segment_panel.how_deep_button.click()
    dialog = dock.depths_part.dialog
    assert dialog.button.text() == "Cancel"
    dialog.button.click()
    wait(qtbot, dock)
    assert dialog.depths is None
    assert dialog.note.text() == "Cancelled."
    assert dialog.button.text() == "Measure"
    dialog.button.click()
    wait(qtbot, dock)
    assert dialog.depths is not None


@pytest.mark.parametrize(
    "end",
    [
        lambda viewer, dock: dock.depths_part.dialog.close(),
        lambda viewer, dock: viewer.layers.clear(),
        lambda viewer, dock: setattr(viewer.layers[0], "data", noise((30, 50))),
        lambda viewer, dock: dock.segment_panel.model_box.names.setCurrentText("nuclei"),
        lambda viewer, dock: viewer.window.remove_dock_widget(dock),
        lambda viewer, dock: viewer.close(),
    ],
    ids=["closed", "no image", "other pixels", "other model", "no dock", "no viewer"],
)
def test_it_ends_with_what_it_is_about(qtbot, viewer, dock, slow, end):
    viewer.add_image(noise(SHAPE))
    dock.segment_panel.how_deep_button.click()
    part = dock.depths_part
    qtbot.waitUntil(lambda: part.dialog.bar.value() > 0, timeout=20_000)

    end(viewer, dock)

    assert part.dialog is None
    assert not part.running
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=20_000)


def test_segment_ends_it_as_its_times_would_be_wrong(qtbot, viewer, dock, slow):
    viewer.add_image(noise(SHAPE))
    dock.segment_panel.how_deep_button.click()
    run(qtbot, dock)
    wait(qtbot, dock)
    assert dock.depths_part.dialog.note.text() == "Cancelled."


def test_nothing_is_measured_while_something_else_is_computed(qtbot, viewer, dock):
    viewer.add_image(noise((30, *SHAPE)))
    dock.segment_panel.button.click()
    dock.segment_panel.how_deep_button.click()
    assert "press Measure when that is done" in dock.depths_part.dialog.note.text()
    assert not dock.depths_part.running
    dock.cancel()
    qtbot.waitUntil(lambda: not dock.running, timeout=30_000)
    dock.depths_part.dialog.button.click()
    wait(qtbot, dock)
    assert dock.depths_part.dialog.depths is not None


def test_a_failure_is_told_and_leaves_the_window_ready(qtbot, viewer, dock, monkeypatch):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the kernel is not there")

    viewer.add_image(noise(SHAPE))
    with monkeypatch.context() as patch, qtbot.captureExceptions() as raised:
        patch.setattr("napari_unetpp.evaluation.how_deep.measure_costs", fail)
        dock.segment_panel.how_deep_button.click()
        wait(qtbot, dock)
    assert "the kernel is not there" in str(raised[0][1])
    assert dock.depths_part.dialog.button.text() == "Measure"


def test_what_cannot_be_asked_is_told_in_one_sentence(viewer, dock):
    assert not dock.segment_panel.how_deep_button.isEnabled()
    viewer.add_image(noise(SHAPE))
    dock.segment_panel.axes_edit.setText("QX")
    dock.segment_panel.how_deep_button.click()
    assert "unknown" in str(notification_manager.records[-1].message)
    assert dock.depths_part.dialog is None
