"""The dock, through the buttons that a user presses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from images import noise
from napari.layers import Labels, _layer_actions
from napari.utils import progress
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QObject, Qt, QThreadPool, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog, QLabel, QMessageBox
from skimage.io import imread

from napari_unetpp.inference.normalise import find_limits
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment
from napari_unetpp.models import Store
from napari_unetpp.models.file import save_model
from napari_unetpp.network import Architecture
from napari_unetpp.widgets import SegmentDock, run, run_demo
from napari_unetpp.widgets.commands import segment_active_layer
from napari_unetpp.widgets.geometry import METADATA_KEY
from napari_unetpp.widgets.run_part import STATUS_AFTER, RunPart
from napari_unetpp.widgets.status import Status

SHAPE = (48, 68)
LONG = (60, 48, 67)
"""A stack that is not done before it can be cancelled."""


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer()


@pytest.fixture
def dock(viewer: Any, tiny_store: Store) -> SegmentDock:
    _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
    dock.segment_panel.model_box.names.setCurrentText("tiny")
    return dock


@pytest.fixture
def finish(qtbot: Any, dock: SegmentDock) -> Callable[[], None]:
    """Wait until no run is on and every layer shows what it should."""

    def wait() -> None:
        qtbot.waitUntil(lambda: not dock.running, timeout=30_000)
        results = dock.results
        qtbot.waitUntil(lambda: results is None or results.idle, timeout=10_000)

    return wait


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each plane takes a while, so that a run over a long stack is still on when it is ended."""

    def slowly(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.05)
        return find_limits(*args, **kwargs)

    monkeypatch.setattr("napari_unetpp.inference.reading.find_limits", slowly)


def press_segment(dock: SegmentDock) -> None:
    assert dock.segment_panel.button.text() == "Segment"
    dock.segment_panel.button.click()


def last_message() -> str:
    return str(notification_manager.records[-1].message)


def layer_of(dock: SegmentDock, key: str) -> Any:
    assert dock.results is not None
    return dock.results.layers[key].layer


def test_segment_shows_the_masks_that_python_gives(viewer, dock, finish, tiny_model):
    image = viewer.add_image(noise(*SHAPE), name="cells")
    press_segment(dock)
    assert dock.segment_panel.button.text() == "Cancel"
    finish()
    assert [layer.name for layer in viewer.layers] == [
        "cells",
        "cells · L1",
        "cells · L2",
        "cells · L3",
    ]
    expected = segment(image.data, tiny_model).masks()
    for number, mask in enumerate(expected):
        np.testing.assert_array_equal(viewer.layers[number + 1].data, mask)
    assert dock.segment_panel.button.text() == "Segment"
    assert "Done" in dock.segment_panel.message.text()
    assert "CPU" in dock.segment_panel.message.text()


def test_results_stand_where_their_image_stands(viewer, dock, finish):
    image = viewer.add_image(
        noise(3, *SHAPE),
        scale=(2, 0.5, 0.25),
        translate=(7, 8, 9),
        rotate=30,
        shear=[0.1, 0, 0.2],
        units=("µm", "µm", "µm"),
        axis_labels=("z", "y", "x"),
    )
    press_segment(dock)
    finish()
    mask = layer_of(dock, "L3")
    np.testing.assert_allclose(mask.scale, image.scale)
    np.testing.assert_allclose(mask.affine.affine_matrix, image.affine.affine_matrix)
    corner = (2, 40, 60)
    np.testing.assert_allclose(mask.data_to_world(corner), image.data_to_world(corner))
    assert mask.units == image.units
    assert mask.axis_labels == image.axis_labels


def test_results_of_an_image_with_channels_lack_that_axis(viewer, dock, finish, tiny_model):
    data = noise(2, *SHAPE)
    viewer.add_image(data, scale=(1, 3, 0.5), translate=(0, 5, 6))
    dock.segment_panel.axes_edit.setText("CYX")
    viewer.dims.set_current_step(0, 1)
    press_segment(dock)
    finish()
    mask = layer_of(dock, "L1")
    np.testing.assert_allclose(mask.scale, (3, 0.5))
    np.testing.assert_allclose(mask.translate, (5, 6))
    expected = segment(data[1], tiny_model).masks()[0]
    np.testing.assert_array_equal(mask.data, expected)


def test_an_rgb_image_is_segmented_as_grey(viewer, dock, finish):
    viewer.add_image(np.random.default_rng(1).integers(0, 255, (*SHAPE, 3), np.uint8), rgb=True)
    assert dock.segment_panel.axes_edit.text() == "YXC"
    press_segment(dock)
    finish()
    assert layer_of(dock, "L3").data.shape == SHAPE


def test_provenance_is_enough_to_run_it_again(viewer, dock, finish, tiny_model):
    image = viewer.add_image(noise(*SHAPE), name="cells")
    dock.segment_panel.background_box.setCurrentText("bright")
    press_segment(dock)
    finish()
    made = layer_of(dock, "L2").metadata[METADATA_KEY]
    assert made["image"] == "cells"
    assert made["model"] == "tiny"
    assert made["sha256"] == tiny_model.digest
    assert made["shows"] == "L2"
    options = SegmentOptions(
        channels=made["channels"],
        tile=made["tile"],
        normalisation=tiny_model.spec.normalisation.model_copy(update=made["normalisation"]),
    )
    again = segment(image.data, tiny_model, axes=made["axes"], options=options)
    np.testing.assert_array_equal(layer_of(dock, "L2").data, again.masks(made["threshold"])[1])


def test_a_model_with_one_head_has_that_alone(viewer, dock, finish, make_model, tiny_store):
    model = make_model(architecture=Architecture(skip="plain"))
    path = tiny_store.folder / "u-net.safetensors"
    save_model(model.network, model.spec.model_copy(update={"name": "u-net"}), path)
    dock.segment_panel.model_box.refresh()
    dock.segment_panel.model_box.names.setCurrentText("u-net")
    assert dock.segment_panel.depth_row.choices == ["L3"]
    assert not {"L1", "L2"} & set(dock.heads_panel.boxes)

    image = viewer.add_image(noise(*SHAPE), name="cells")
    press_segment(dock)
    finish()

    assert [layer.name for layer in viewer.layers] == ["cells", "cells · L3"]
    np.testing.assert_array_equal(layer_of(dock, "L3").data, segment(image.data, model).masks()[0])
    boxes = dock.heads_panel.boxes
    assert boxes["L3"].isChecked()
    assert boxes["instances"].isEnabled()
    assert not boxes["ensemble"].isEnabled()
    dock.heads_panel.slider.setValue(0.2)
    finish()
    expected = segment(image.data, model).masks(0.2)[0]
    np.testing.assert_array_equal(layer_of(dock, "L3").data, expected)


def test_depth_limits_the_heads_and_a_deeper_run_goes_on_in_the_same_layers(viewer, dock, finish):
    viewer.add_image(noise(*SHAPE), name="cells")
    dock.segment_panel.depth_row.button("L1").click()
    press_segment(dock)
    finish()
    assert [layer.name for layer in viewer.layers] == ["cells", "cells · L1"]
    first = layer_of(dock, "L1")
    dock.segment_panel.depth_row.button("L3").click()
    press_segment(dock)
    finish()
    assert [layer.name for layer in viewer.layers][1:] == [f"cells · L{k}" for k in (1, 2, 3)]
    assert layer_of(dock, "L1") is first


def test_where_plane_fills_the_plane_on_screen_only(viewer, dock, finish):
    viewer.add_image(noise(4, *SHAPE))
    viewer.dims.set_current_step(0, 2)
    dock.segment_panel.where_row.button("plane").click()
    press_segment(dock)
    finish()
    assert dock.results.computed.keys() == {(2,)}
    filled = layer_of(dock, "L1").data.any(axis=(1, 2))
    assert filled.tolist() == [False, False, True, False]


def test_where_stack_goes_outward_from_the_plane_on_screen(viewer, dock, finish):
    viewer.add_image(noise(5, *SHAPE))
    viewer.dims.set_current_step(0, 3)
    dock.segment_panel.where_row.button("stack").click()
    press_segment(dock)
    finish()
    order = [index[0] for index in dock.results.computed]
    assert order[0] == 3
    assert sorted(order) == [0, 1, 2, 3, 4]
    distances = [abs(plane - 3) for plane in order]
    assert distances == sorted(distances)


def test_where_view_fills_what_is_on_screen(viewer, dock, finish):
    image = viewer.add_image(noise(96, 131))
    image.corner_pixels = np.array([[32, 48], [63, 95]])
    dock.segment_panel.where_row.button("view").click()
    press_segment(dock)
    finish()
    probabilities = dock.results.heads.probabilities[0]
    assert probabilities[32:64, 48:96].all()
    assert not probabilities[64:, :].any()
    assert not probabilities[:, 96:].any()


def test_cancel_half_way_keeps_what_is_there(qtbot, viewer, dock, finish, slow):
    viewer.add_image(noise(*LONG))
    dock.segment_panel.where_row.button("stack").click()
    press_segment(dock)
    qtbot.waitUntil(lambda: dock.results is not None and len(dock.results.computed) >= 2)
    dock.segment_panel.button.click()
    finish()
    done = len(dock.results.computed)
    assert 2 <= done < LONG[0]
    assert "ancelled" in dock.segment_panel.message.text()
    assert layer_of(dock, "L1").data.any()
    assert dock.segment_panel.button.text() == "Segment"


def test_naparis_spinner_turns_slowly_while_the_network_computes(qtbot, viewer, dock, finish, slow):
    """Each of its pictures has the whole window put together anew, on the same cores."""

    def speeds() -> set[int]:
        labels = viewer.window._qt_window.findChildren(QLabel)
        return {label.movie().speed() for label in labels if label.movie() is not None}

    viewer.add_image(noise(*LONG))
    press_segment(dock)
    assert speeds() == {10}
    dock.segment_panel.button.click()
    finish()
    assert speeds() == {100}


def test_no_bar_is_left_of_a_run_that_ends_while_napari_makes_it(
    qtbot, viewer, dock, finish, monkeypatch
):
    """napari turns the event loop when it makes one."""

    def slowly(**arguments: Any) -> Any:
        qtbot.waitUntil(lambda: not dock.running, timeout=20_000)
        return progress(**arguments)

    monkeypatch.setattr(run, "progress", slowly)
    monkeypatch.setattr(run, "BAR_AFTER", 0.0)
    monkeypatch.setattr(run, "BAR_EVERY", 1)
    viewer.add_image(noise(*LONG))
    press_segment(dock)
    finish()
    assert not list(progress._all_instances)


def test_closing_the_viewer_ends_the_run(qtbot, viewer, dock, slow):
    viewer.add_image(noise(*LONG))
    press_segment(dock)
    qtbot.waitUntil(lambda: dock.results is not None)
    assert QThreadPool.globalInstance().activeThreadCount() > 0
    viewer.close()
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=10_000)
    assert not list(progress._all_instances)


def test_closing_the_dock_ends_the_run_and_gives_the_keys_back(qtbot, viewer, dock, slow):
    viewer.window.show()
    assert viewer.keymap
    viewer.add_image(noise(*LONG))
    press_segment(dock)
    qtbot.waitUntil(lambda: dock.results is not None and bool(dock.results.layers))
    layers = dock.results.layers
    viewer.window.remove_dock_widget(dock)
    assert not viewer.keymap
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=10_000)
    assert not layers  # let go of; what is in the viewer stays
    assert not viewer.layers["Image · L1"].data.any(axis=(1, 2)).all()
    assert not list(progress._all_instances)


def test_scrolling_through_the_stack_does_not_end_the_run(qtbot, viewer, dock, slow):
    viewer.add_image(noise(12, *SHAPE))
    press_segment(dock)
    run = dock.session.run
    with qtbot.waitSignal(run.ended, timeout=20_000) as ended:
        for plane in range(12):
            viewer.dims.set_current_step(0, plane)
    assert ended.args == [True]


def test_a_failure_in_torch_is_told_and_leaves_the_dock_ready(qtbot, viewer, dock, monkeypatch):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the kernel is not there")

    viewer.add_image(noise(*SHAPE))
    with monkeypatch.context() as patch, qtbot.captureExceptions() as raised:
        patch.setattr("napari_unetpp.inference.predict.segment_tiles", fail)
        press_segment(dock)
        qtbot.waitUntil(lambda: not dock.running, timeout=20_000)
    assert "the kernel is not there" in str(raised[0][1])
    assert dock.segment_panel.button.text() == "Segment"


def test_other_pixels_are_segmented_anew(viewer, dock, finish, tiny_model):
    image = viewer.add_image(noise(3, *SHAPE))
    dock.segment_panel.where_row.button("plane").click()
    press_segment(dock)
    finish()
    image.data = noise(80, 52, seed=7)
    assert dock.results is None
    assert dock.segment_panel.axes_edit.text() == "YX"
    press_segment(dock)
    finish()
    expected = segment(image.data, tiny_model).masks()
    np.testing.assert_array_equal(layer_of(dock, "L3").data, expected[2])


def test_what_is_computed_less_deep_does_not_look_like_disagreement(viewer, dock, finish):
    image = viewer.add_image(noise(96, 131))
    dock.segment_panel.depth_row.button("L1").click()
    press_segment(dock)
    finish()
    assert not dock.heads_panel.boxes["disagreement"].isEnabled()
    image.corner_pixels = np.array([[32, 48], [63, 95]])
    dock.segment_panel.depth_row.button("L3").click()
    dock.segment_panel.where_row.button("view").click()
    press_segment(dock)
    finish()
    dock.heads_panel.boxes["disagreement"].click()
    finish()
    shown = layer_of(dock, "disagreement").data
    assert shown[32:64, 48:96].any()
    assert not shown[64:].any()


def test_a_layer_with_other_data_is_the_users(viewer, dock, finish):
    viewer.add_image(noise(*SHAPE))
    press_segment(dock)
    finish()
    changed = layer_of(dock, "L2")
    changed.data = changed.data.copy()
    kept = changed.data.copy()
    dock.heads_panel.slider.setValue(0.9)
    finish()
    np.testing.assert_array_equal(changed.data, kept)


@pytest.mark.parametrize(
    "change",
    [
        lambda viewer, image: viewer.layers.remove(image),
        lambda viewer, image: setattr(image, "data", noise(*LONG, seed=5)),
    ],
    ids=["removed", "changed"],
)
def test_a_run_ends_when_its_image_is(qtbot, viewer, dock, change, slow):
    image = viewer.add_image(noise(*LONG))
    press_segment(dock)
    qtbot.waitUntil(lambda: dock.results is not None)
    run = dock.session.run
    with qtbot.waitSignal(run.ended, timeout=10_000) as ended:
        change(viewer, image)
    assert ended.args == [False]
    assert not dock.running


def test_choosing_another_image_ends_the_run(qtbot, viewer, dock, slow):
    first = viewer.add_image(noise(*SHAPE), name="first")
    second = viewer.add_image(noise(*LONG), name="second")
    dock.segment_panel.image_box.layer = second
    dock.segment_panel.where_row.button("stack").click()
    press_segment(dock)
    qtbot.waitUntil(lambda: dock.results is not None)
    run = dock.session.run
    with qtbot.waitSignal(run.ended, timeout=10_000) as ended:
        dock.segment_panel.image_box.layer = first
    assert ended.args == [False]


def test_a_deleted_result_comes_back_when_it_is_ticked(qtbot, viewer, dock, finish):
    viewer.add_image(noise(*SHAPE))
    press_segment(dock)
    finish()
    before = layer_of(dock, "L2").data.copy()
    viewer.layers.remove(layer_of(dock, "L2"))
    assert not dock.heads_panel.boxes["L2"].isChecked()
    dock.heads_panel.boxes["L2"].click()
    finish()
    np.testing.assert_array_equal(layer_of(dock, "L2").data, before)


@pytest.mark.parametrize("by", ["brush", "script"])
def test_a_painted_layer_survives_the_next_run(viewer, dock, finish, by):
    viewer.add_image(noise(*SHAPE), name="cells")
    press_segment(dock)
    finish()
    painted = layer_of(dock, "L2")
    if by == "brush":
        painted.selected_label = 7
        painted.paint((10, 12), 7)
    else:
        painted.data[10, 12] = 7
    kept = painted.data.copy()
    press_segment(dock)
    finish()
    np.testing.assert_array_equal(painted.data, kept)
    assert layer_of(dock, "L2") is not painted
    assert layer_of(dock, "L2").name != painted.name
    assert 7 not in layer_of(dock, "L2").data
    assert painted in viewer.layers


def test_painting_during_a_run_survives_it(qtbot, viewer, dock, finish):
    viewer.add_image(noise(12, *SHAPE))
    press_segment(dock)
    qtbot.waitUntil(lambda: dock.results is not None and "L1" in dock.results.layers)
    painted = layer_of(dock, "L1")
    painted.paint((0, 20, 20), 5)
    kept = painted.data.copy()
    finish()
    np.testing.assert_array_equal(painted.data, kept)


def test_the_threshold_is_live_and_computes_nothing_again(viewer, dock, finish, monkeypatch):
    viewer.add_image(noise(*SHAPE))
    press_segment(dock)
    finish()
    monkeypatch.setattr("napari_unetpp.inference.predict.segment_tiles", None)
    heads = dock.results.heads
    painted = layer_of(dock, "L1")
    painted.paint((3, 4), 9)
    kept = painted.data.copy()
    for threshold in (0.2, 0.8):
        dock.heads_panel.slider.setValue(threshold)
        finish()
        np.testing.assert_array_equal(layer_of(dock, "L3").data, heads.masks(threshold)[2])
        assert layer_of(dock, "L3").metadata[METADATA_KEY]["threshold"] == threshold
    np.testing.assert_array_equal(painted.data, kept)


def test_boxes_and_layers_agree_on_what_is_visible(viewer, dock, finish):
    viewer.add_image(noise(*SHAPE))
    press_segment(dock)
    finish()
    boxes = dock.heads_panel.boxes
    boxes["L1"].click()
    assert not layer_of(dock, "L1").visible
    layer_of(dock, "L2").visible = False
    assert not boxes["L2"].isChecked()
    dock.heads_panel.soloed.emit("L2")
    assert [layer_of(dock, f"L{k}").visible for k in (1, 2, 3)] == [False, True, False]
    dock.heads_panel.soloed.emit("L2")
    assert all(layer_of(dock, f"L{k}").visible for k in (1, 2, 3))


def test_ensemble_and_disagreement_are_those_of_the_heads(viewer, dock, finish):
    viewer.add_image(noise(3, *SHAPE))
    press_segment(dock)
    finish()
    for key in ("ensemble", "disagreement"):
        dock.heads_panel.boxes[key].click()
    finish()
    heads = dock.results.heads
    np.testing.assert_array_equal(layer_of(dock, "disagreement").data, heads.disagreement())
    np.testing.assert_array_equal(layer_of(dock, "ensemble").data, heads.ensemble()[0] >= 127.5)


def test_instances_follow_the_threshold(qtbot, viewer, dock, finish):
    viewer.add_image(noise(2, *SHAPE))
    press_segment(dock)
    finish()
    deepest = dock.results.heads.probabilities[-1]
    dock.heads_panel.slider.setValue(float(np.quantile(deepest, 0.4)) / 255)
    dock.heads_panel.boxes["instances"].click()

    def covers(threshold: float) -> bool:
        mask = deepest >= threshold * 255
        instances = layer_of(dock, "instances").data
        return instances.any() and not instances[~mask].any() and instances.max() > 1

    qtbot.waitUntil(lambda: covers(dock.heads_panel.slider.value()), timeout=5000)
    dock.heads_panel.slider.setValue(float(np.quantile(deepest, 0.7)) / 255)
    qtbot.waitUntil(lambda: covers(dock.heads_panel.slider.value()), timeout=5000)


def test_next_uncertain_goes_to_where_the_mask_is_unsure(qtbot, viewer, dock, finish):
    viewer.add_image(noise(3, 96, 131))
    press_segment(dock)
    finish()
    values = dock.results.heads.values
    values[:] = 255
    values[-1, 0, 2, 64:80, 96:112] = 128
    values[0, 0, 1, 64:80, 96:112] = 0  # there the heads differ, and the deepest is sure
    dock.heads_panel.next_button.click()
    qtbot.waitUntil(lambda: viewer.dims.current_step[0] == 2, timeout=5000)
    camera = getattr(viewer, "scene", viewer).camera
    np.testing.assert_allclose(camera.center[-2:], (72, 104), atol=8)


def test_next_uncertain_skips_what_was_corrected(qtbot, viewer, dock, finish):
    viewer.add_image(noise(96, 131))
    press_segment(dock)
    finish()
    values = dock.results.heads.values
    values[:] = 255
    values[-1, 0, 64:80, 96:112] = 128
    values[-1, 0, 16:32, 16:32] = 80
    camera = getattr(viewer, "scene", viewer).camera

    def goes_to(y: int, x: int) -> None:
        dock.heads_panel.next_button.click()
        qtbot.waitUntil(lambda: np.allclose(camera.center[-2:], (y, x), atol=8), timeout=5000)

    goes_to(72, 104)
    goes_to(24, 24)
    layer = layer_of(dock, "L1")
    layer.paint((72, 104), 1 - int(layer.data[72, 104]))
    camera.center = (50, 50)
    goes_to(24, 24)
    layer.paint((24, 24), 1 - int(layer.data[24, 24]))
    dock.heads_panel.next_button.click()
    assert viewer.status == "All uncertain places are corrected."


def test_next_uncertain_needs_no_second_head(qtbot, viewer, dock, finish, tiny_store, make_model):
    made = make_model(architecture=Architecture(skip="plain"))
    save_model(made.network, made.spec, tiny_store.folder / "u-net.safetensors")
    dock.segment_panel.model_box.refresh("u-net")
    viewer.add_image(noise(96, 131))
    assert not dock.heads_panel.next_button.isEnabled()  # nothing is computed yet
    press_segment(dock)
    finish()
    assert dock.results.head_keys == ["L3"]
    values = dock.results.heads.values
    values[:] = 255
    values[0, 0, 64:80, 96:112] = 128
    dock.heads_panel.next_button.click()
    camera = getattr(viewer, "scene", viewer).camera
    qtbot.waitUntil(lambda: np.allclose(camera.center[-2:], (72, 104), atol=8), timeout=5000)


@pytest.mark.parametrize(
    ("axes", "word"), [("ZYX", "3 axes"), ("YY", "twice"), ("QX", "unknown"), ("", "lack")]
)
def test_axes_that_do_not_fit_are_told_in_one_sentence(viewer, dock, axes, word):
    viewer.add_image(noise(*SHAPE))
    dock.segment_panel.axes_edit.setText(axes)
    assert word in dock.segment_panel.axes_edit.toolTip()
    press_segment(dock)
    assert word in last_message()
    assert not dock.running


def test_colour_keeps_its_channels(qtbot, viewer, dock):
    viewer.add_image(np.zeros((*SHAPE, 3), np.uint8), rgb=True)
    edit = dock.segment_panel.axes_edit
    for axes in ("ZYX", "CYX"):
        edit.selectAll()
        qtbot.keyClicks(edit, axes)
        press_segment(dock)
        assert last_message() == (
            f"The axes '{axes}' don't end with C, but the image is colour: end them with C, or "
            "take Layers ▸ Split RGB."
        )
        assert not dock.running
    edit.selectAll()
    qtbot.keyClicks(edit, "XYC")
    press_segment(dock)
    assert dock.running


def test_axes_are_remembered_with_the_layer(qtbot, viewer, dock):
    first = viewer.add_image(noise(3, *SHAPE))
    second = viewer.add_image(noise(*SHAPE))
    edit = dock.segment_panel.axes_edit
    assert edit.text() == "ZYX"
    edit.selectAll()
    edit.insert("TYX")
    dock.segment_panel.image_box.layer = second
    assert edit.text() == "YX"
    dock.segment_panel.image_box.layer = first
    assert edit.text() == "TYX"


def test_axes_count_key_by_key(qtbot, viewer, dock):
    image = viewer.add_image(noise(3, *SHAPE))
    other = viewer.add_image(noise(*SHAPE))
    panel = dock.segment_panel
    edit = panel.axes_edit
    panel.image_box.layer = image
    for letter in "CT":
        qtbot.keyClick(edit, Qt.Key.Key_Home)
        qtbot.keyClick(edit, Qt.Key.Key_Delete)
        assert "2 axes" in edit.toolTip()  # and nothing else is told
        qtbot.keyClicks(edit, letter)
        assert edit.text() == f"{letter}YX"
        assert "2 axes" not in edit.toolTip()
        assert panel.channel_row.isVisibleTo(panel) == (letter == "C")
        assert panel.where_row.button("stack").isEnabled() == (letter == "T")
    panel.image_box.layer = other
    panel.image_box.layer = image
    assert edit.text() == "TYX"


def test_a_copy_of_a_layer_has_axes_of_its_own(qtbot, viewer, dock):
    image = viewer.add_image(noise(3, *SHAPE), name="cells")
    edit = dock.segment_panel.axes_edit
    edit.selectAll()
    qtbot.keyClicks(edit, "TYX")
    _layer_actions._duplicate_layer(viewer.layers)  # as the menu does
    dock.segment_panel.image_box.layer = viewer.layers["cells copy"]
    assert edit.text() == "TYX"
    edit.selectAll()
    qtbot.keyClicks(edit, "ZYX")
    dock.segment_panel.image_box.layer = image
    assert edit.text() == "TYX"


def test_without_an_image_segment_is_off_and_says_what_to_do(viewer, dock):
    assert not dock.segment_panel.button.isEnabled()
    assert "Open" in dock.segment_panel.message.text()


def test_a_model_that_vanished_is_told_in_one_sentence(viewer, dock, tiny_store):
    viewer.add_image(noise(*SHAPE))
    tiny_store.remove("tiny")
    press_segment(dock)
    assert "no model 'tiny'" in last_message()


def test_a_complex_image_is_refused_in_one_sentence(qtbot, viewer, dock, finish):
    layer = viewer.add_image(noise(*SHAPE))
    layer._data = np.zeros(SHAPE, np.complex64)
    press_segment(dock)
    finish()
    assert "complex" in last_message()


def test_the_image_box_follows_the_layer_list(viewer, dock):
    box = dock.segment_panel.image_box
    first = viewer.add_image(noise(*SHAPE), name="first")
    viewer.add_labels(np.zeros(SHAPE, int), name="labels")
    viewer.add_image(noise(*SHAPE), name="second")
    assert [box.itemText(n) for n in range(box.count())] == ["first", "second"]
    assert box.layer is first
    first.name = "renamed"
    assert box.itemText(0) == "renamed"
    viewer.layers.remove(first)
    assert box.layer.name == "second"


def test_shortcuts_are_free_in_napari_and_given_back(viewer, dock, finish):
    from app_model.types import KeyBinding
    from napari.settings import get_settings

    viewer.window.show()
    taken = {str(key) for keys in get_settings().shortcuts.shortcuts.values() for key in keys}
    bound = dock._shortcuts.bound
    assert "Alt-1" in bound
    as_napari = {
        str(KeyBinding.from_str(key.replace("-", "+").replace("Control", "Ctrl"))) for key in bound
    }
    assert not taken & as_napari
    viewer.add_image(noise(*SHAPE))
    press_segment(dock)
    finish()
    for binding, action in list(viewer.keymap.items()):
        if str(binding) == "Alt+1":
            action(viewer)
    assert not layer_of(dock, "L1").visible
    dock.hide()
    assert not viewer.keymap


def test_the_window_answers_while_a_run_is_on(qtbot, viewer, dock, finish):
    """No turn of the event loop keeps the GUI thread busy for 100 ms.

    The thread's own time is counted, as a shared machine may stop it for others at any moment.
    """
    viewer.add_image(noise(8, 256, 311))
    press_segment(dock)  # once before: what napari builds for new layers is not the run's
    finish()
    beats = [time.thread_time()]
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(time.thread_time()))
    timer.start(5)
    press_segment(dock)
    finish()
    timer.stop()
    assert len(beats) > 10
    assert np.diff(beats).max() < 0.1


def test_the_menu_command_segments_the_active_image(viewer, dock, finish):
    viewer.add_image(noise(*SHAPE), name="other")
    image = viewer.add_image(noise(*SHAPE), name="cells")
    viewer.layers.selection.active = image
    segment_active_layer(viewer)
    finish()
    assert dock.segment_panel.image is image
    dock.heads_panel.boxes["disagreement"].click()
    viewer.layers.selection.active = layer_of(dock, "disagreement")
    segment_active_layer(viewer)
    finish()
    assert dock.segment_panel.image is image


@pytest.mark.parametrize("sample", ["nuclei", "stack", "histology"])
def test_samples_open_with_their_scale(viewer, dock, sample):
    (layer,) = viewer.open_sample("napari-unetpp", sample)
    assert all(0 < length < 1 for length in layer.scale)
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert dock.segment_panel.axes_edit.text() == {"stack": "ZYX", "histology": "YXC"}.get(
        sample, "YX"
    )


@pytest.mark.parametrize("sample", ["nuclei", "stack", "volume", "histology"])
def test_the_truth_of_a_sample_lies_on_it(viewer, dock, sample):
    (image,) = viewer.open_sample("napari-unetpp", sample)
    (truth,) = viewer.open_sample("napari-unetpp", f"{sample}_truth")
    assert isinstance(truth, Labels)
    assert truth.data.shape == image.data.shape[: truth.ndim]
    assert truth.data.max() > 30
    assert (truth.scale == image.scale).all()
    assert truth.units == image.units
    assert dock.segment_panel.image is image


def test_two_viewers_do_not_disturb_each_other(make_napari_viewer, tiny_store, qtbot):
    viewers = [make_napari_viewer(), make_napari_viewer()]
    docks = []
    for number, viewer in enumerate(viewers):
        _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
        dock.segment_panel.model_box.names.setCurrentText("tiny")
        viewer.add_image(noise(*SHAPE, seed=number), name=f"image {number}")
        docks.append(dock)
    for dock in docks:
        press_segment(dock)
    qtbot.waitUntil(lambda: not any(dock.running for dock in docks), timeout=20_000)
    for number, viewer in enumerate(viewers):
        assert [layer.name for layer in viewer.layers][1] == f"image {number} · L1"
        assert len(viewer.layers) == 4


def test_the_model_menu_imports_exports_and_removes(
    viewer, dock, tiny_store, tmp_path, monkeypatch, make_model
):
    box = dock.segment_panel.model_box
    file = tmp_path / "given away.safetensors"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(file), ""))
    box._export()
    assert file.is_file()
    yes = QMessageBox.StandardButton.Yes
    monkeypatch.setattr(QMessageBox, "question", lambda *args: yes)
    box._remove()
    assert "tiny" not in tiny_store.names()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *args: (str(file), ""))
    box._import()
    assert "tiny" in tiny_store.names()
    assert box.name == "tiny"
    box._import()
    assert "already" in last_message()


def test_the_demo_leaves_masks_and_a_picture(tiny_store, tmp_path, monkeypatch, qtbot):
    monkeypatch.setattr("napari_unetpp.widgets.model_box.DEFAULT_MODEL", "tiny")
    run_demo(tmp_path / "masks", tmp_path / "window.png")
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [
        f"nuclei_L{k}.tif" for k in (1, 2, 3)
    ]
    assert imread(tmp_path / "window.png").std() > 10


def status(head, fraction):
    return Status(
        fraction=fraction,
        head=head,
        plane=1,
        planes=1,
        seconds=1.0,
        remaining=5.0,
        device="CPU",
        reason="",
        size="",
    )


def test_a_status_is_painted_at_once_and_once(qtbot):
    """For each time that something is painted all of the window is put together."""
    part, painted = RunPart(), []
    qtbot.addWidget(part)
    part.resize(300, 100)
    part.show()
    part.show_running(True)
    qtbot.wait(STATUS_AFTER)

    class Watch(QObject):
        def eventFilter(self, watched, event):
            if watched is part and event.type() == QEvent.Type.UpdateRequest:
                painted.append(part.message.text())
            return False

    watch = Watch()
    QApplication.instance().installEventFilter(watch)
    part.show_status(status(1, 0.1))
    qtbot.wait(3 * STATUS_AFTER)
    QApplication.instance().removeEventFilter(watch)
    assert painted == ["L1 · 5 s left · CPU"]


def test_the_sentence_can_be_copied_after_a_run(qtbot):
    part = RunPart()
    qtbot.addWidget(part)
    part.show_running(True)
    part.show_running(False)
    part.say("The image has no such axis.")
    part.message.setSelection(0, 9)
    assert part.message.selectedText() == "The image"


def test_the_latest_status_is_shown_soon_and_none_after_the_end(qtbot):
    part = RunPart()
    qtbot.addWidget(part)
    part.show_running(True)
    part.show_status(status(1, 0.1))
    part.show_status(status(2, 0.25))
    qtbot.waitUntil(lambda: part.message.text() == "L2 · 5 s left · CPU", timeout=5000)
    assert part.bar.value() == 250
    part.show_status(status(3, 0.5))
    part.show_running(False)
    part.say("Done")
    qtbot.wait(2 * STATUS_AFTER)
    assert part.message.text() == "Done"
