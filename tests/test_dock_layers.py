"""The dock with layers that are the channels of one image."""

from __future__ import annotations

import time

import dask.array as da
import numpy as np
import pytest
import tifffile
from images import noise
from napari.layers import Image, _layer_actions

from napari_unetpp.inference.normalise import find_limits
from napari_unetpp.inference.predict import segment
from napari_unetpp.models.file import save_model
from napari_unetpp.widgets.geometry import METADATA_KEY
from napari_unetpp.widgets.layers_row import ALONE, MEAN

PLACE = {
    "scale": (2, 0.5, 0.25),
    "translate": (3, 4, 5),
    "units": ("µm", "µm", "µm"),
    "axis_labels": ("z", "y", "x"),
}


@pytest.fixture
def two_channels(make_model):
    return make_model(in_channels=2)


@pytest.fixture
def tiny_store(tiny_store, two_channels, tmp_path):
    """With a model of two channels, too."""
    spec = two_channels.spec.model_copy(update={"name": "tiny2"})
    save_model(two_channels.network, spec, tmp_path / "models" / "tiny2.safetensors")
    return tiny_store


@pytest.fixture
def told(monkeypatch):
    sentences = []
    monkeypatch.setattr("napari_unetpp.widgets.dock.show_error", sentences.append)
    return sentences


@pytest.fixture
def slow(monkeypatch):
    """Each plane takes a while, so that a run is still on when it is ended."""

    def slowly(*args, **kwargs):
        time.sleep(0.05)
        return find_limits(*args, **kwargs)

    monkeypatch.setattr("napari_unetpp.inference.reading.find_limits", slowly)


def add_channels(viewer, *shape, count=2, **options):
    return [
        viewer.add_image(noise(*shape, seed=number), name=f"C{number}", **options)
        for number in range(count)
    ]


def choose(viewer, entry, **options):
    """Choose an entry of napari's menu Layers, with all of the images selected."""
    viewer.layers.selection = set(viewer.layers)
    getattr(_layer_actions, entry)(viewer.layers, **options)


def keep_images(viewer):
    """Remove the results."""
    for layer in list(viewer.layers):
        if not isinstance(layer, Image):
            viewer.layers.remove(layer)


def test_one_image_has_nothing_to_choose(viewer, dock):
    row = dock.segment_panel.channel_row
    viewer.add_image(noise(40, 60))
    assert not row.isVisibleTo(dock.segment_panel)
    viewer.add_image(noise(41, 60))
    assert not row.isVisibleTo(dock.segment_panel)
    other = viewer.add_image(noise(40, 60))
    assert row.isVisibleTo(dock.segment_panel)
    viewer.layers.remove(other)
    assert not row.isVisibleTo(dock.segment_panel)


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("where", ["view", "plane", "stack"])
def test_each_layer_is_a_channel_of_the_model(viewer, dock, segmented, two_channels, where):
    pixels = np.stack([noise(3, 40, 60, seed=n) for n in range(2)])
    lazy = da.from_array(pixels[1], chunks=(1, 20, 30))
    viewer.add_image(pixels[0], name="C0", **PLACE)
    viewer.add_image(lazy, name="C1", **PLACE)
    panel = dock.segment_panel
    panel.model_box.names.setCurrentText("tiny2")
    boxes = panel.channel_row.layers_row.boxes
    assert [box.currentText() for box in boxes] == ["C0", "C1"]
    panel.where_row.value = where
    found = segmented()
    assert found.heads.axes == "ZYX"
    layer = found.layers["L3"].layer
    assert layer.name == "C0 · L3"  # the chosen image
    assert layer.axis_labels == ("z", "y", "x")
    np.testing.assert_allclose(layer.scale, PLACE["scale"])
    np.testing.assert_allclose(layer.translate, PLACE["translate"])
    assert layer.units == viewer.layers["C0"].units
    made = layer.metadata[METADATA_KEY]
    assert (made["layers"], made["axes"], made["model"]) == (["C0", "C1"], "CZYX", "tiny2")
    expected = segment(pixels, two_channels, axes="CZYX").masks(0.5)[2]
    shown = slice(None) if where == "stack" else int(viewer.dims.current_step[0])
    np.testing.assert_array_equal(np.asarray(layer.data)[shown], expected[shown])
    assert expected[shown].any()


@pytest.mark.usefixtures("fp32")
def test_the_order_of_the_channels_is_the_users(viewer, dock, segmented, two_channels):
    first, second = add_channels(viewer, 40, 60)
    dock.segment_panel.model_box.names.setCurrentText("tiny2")
    boxes = dock.segment_panel.channel_row.layers_row.boxes
    for box, layer in zip(boxes, (second, first), strict=True):
        box.layer = layer
        box.activated.emit(0)
    other = viewer.add_image(noise(40, 60, seed=9), name="later")  # what was chosen stays
    found = segmented()
    assert found.provenance["layers"] == ["C1", "C0"]
    dock.segment_panel.image_box.layer = other  # for another image it is suggested anew
    assert [box.layer for box in boxes] == [second, other]
    wanted = segment(np.stack([second.data, first.data]), two_channels, axes="CYX").masks(0.5)
    np.testing.assert_array_equal(found.layers["L3"].layer.data, wanted[2])


@pytest.mark.parametrize("shape", [(40, 60), (41, 60)])
def test_layers_can_be_added_beside_channels(viewer, dock, segmented, shape):
    _, second = add_channels(viewer, 40, 60)
    panel = dock.segment_panel
    panel.model_box.names.setCurrentText("tiny2")
    panel.image_box.layer = second
    later = viewer.add_image(noise(*shape, seed=2), name="C2")
    boxes = panel.channel_row.layers_row.boxes
    expected = ["C1", "C2"] if shape == (40, 60) else ["C0", "C1"]
    assert [box.currentText() for box in boxes] == expected
    viewer.layers.remove(later)
    assert [box.currentText() for box in boxes] == ["C0", "C1"]
    found = segmented()
    assert found.provenance["layers"] == ["C0", "C1"]
    assert [layer.name for layer in viewer.layers][2:] == [f"C1 · L{k}" for k in (1, 2, 3)]


def test_the_channels_of_a_colour_image_as_layers(viewer, dock, segmented):
    viewer.open_sample("napari-unetpp", "histology")
    panel = dock.segment_panel
    row = panel.channel_row.layers_row
    assert panel.axes_edit.text() == "YXC"
    choose(viewer, "_split_rgb")
    assert len(viewer.layers) == 3
    for layer in viewer.layers:
        panel.image_box.layer = layer
        assert panel.axes_edit.text() == "YX"
    assert row.how.isVisibleTo(panel)
    row.how.setCurrentText(MEAN)
    assert len(segmented().provenance["layers"]) == 3
    keep_images(viewer)
    choose(viewer, "_merge_stack", rgb=True)
    assert panel.image.rgb
    assert panel.axes_edit.text() == "YXC"
    choose(viewer, "_split_rgb")
    choose(viewer, "_merge_stack")
    assert panel.axes_edit.text() == "ZYX"


@pytest.mark.parametrize(
    ("axes", "split", "merged"),
    [("CYX", "YX", "CYX"), ("ZCYX", "ZYX", "ZCYX"), ("ZYX", "YX", "ZYX")],
)
def test_axes_follow_what_napari_splits_and_merges(viewer, dock, tmp_path, axes, split, merged):
    shape = (3, 2, 40, 60)[-len(axes) :]
    tifffile.imwrite(tmp_path / "cells.ome.tif", noise(*shape), metadata={"axes": axes}, ome=True)
    viewer.open(str(tmp_path / "cells.ome.tif"), plugin="napari-unetpp")
    edit = dock.segment_panel.axes_edit
    assert edit.text() == axes
    choose(viewer, "_split_stack")
    assert len(viewer.layers) == shape[0]
    assert edit.text() == split
    choose(viewer, "_merge_stack")
    assert edit.text() == merged


def test_axes_of_a_projection_are_those_that_are_left(viewer, dock, tmp_path):
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, noise(3, 2, 40, 60), metadata={"axes": "ZCYX"}, ome=True)
    viewer.open(str(path), plugin="napari-unetpp")
    choose(viewer, "_project")
    dock.segment_panel.image_box.layer = viewer.layers[-1]
    assert dock.segment_panel.axes_edit.text() == "CYX"


@pytest.mark.usefixtures("fp32")
def test_a_model_of_one_channel_sees_the_mean_of_what_is_visible(
    viewer, dock, segmented, tiny_model
):
    first, second, hidden = add_channels(viewer, 40, 60, count=3)
    first.contrast_limits, second.contrast_limits = (0, 4000), (1000, 2000)
    hidden.visible = False
    dock.segment_panel.image_box.layer = first
    row = dock.segment_panel.channel_row.layers_row
    assert row.how.currentText() == ALONE
    alone = segmented()
    assert alone.provenance["layers"] == ["C0"]
    row.how.setCurrentText(MEAN)
    found = segmented()
    assert found.provenance["layers"] == ["C0", "C1"]
    assert found.layers["L1"].layer not in [made.layer for made in alone.layers.values()]
    shown = first.data / np.float32(4000) + second.data / np.float32(1000)
    wanted = segment(shown, tiny_model).values
    assert abs(np.asarray(found.heads.values, int) - wanted).max() <= 1


def test_layers_elsewhere_are_refused_in_one_sentence(viewer, dock, told):
    add_channels(viewer, 40, 60)
    panel = dock.segment_panel
    viewer.add_image(noise(40, 60), name="far", translate=(0, 7))
    panel.image_box.layer = viewer.layers["C0"]
    panel.channel_row.layers_row.how.setCurrentText(MEAN)
    panel.button.click()
    assert told.pop() == (
        "far doesn't lie on C0 pixel by pixel (its translate differs): hide it, or choose another "
        "layer as a channel."
    )
    viewer.layers["far"].visible = False
    viewer.add_image(noise(41, 60), name="larger")
    panel.image_box.layer = viewer.layers["C0"]
    panel.channel_row.layers_row.how.setCurrentText(MEAN)
    panel.button.click()
    assert "larger doesn't lie on C0 pixel by pixel (its shape is (41, 60) rather than" in told[0]
    assert not dock.running


@pytest.mark.usefixtures("slow")
def test_a_run_ends_when_one_of_its_layers_is_removed(viewer, dock, qtbot):
    first, second = add_channels(viewer, 60, 40, 67)
    panel = dock.segment_panel
    panel.model_box.names.setCurrentText("tiny2")
    panel.where_row.value = "stack"
    panel.image_box.layer = first
    panel.button.click()
    run = dock.session.run
    qtbot.waitUntil(lambda: run.last_status is not None)  # not just a layer, but something in it
    with qtbot.waitSignal(run.ended, timeout=10_000) as ended:
        viewer.layers.remove(second)
    assert ended.args == [False]
    assert not dock.running
    assert panel.message.text().startswith("Cancelled; what was computed is kept")
    dock.heads_panel.slider.setValue(0.3)  # live as ever
    assert dock.results.image is first
    assert not panel.channel_row.isVisibleTo(panel)


def test_other_pixels_in_one_of_the_layers_are_segmented_anew(viewer, dock, segmented):
    first, second = add_channels(viewer, 40, 60)
    panel = dock.segment_panel
    panel.model_box.names.setCurrentText("tiny2")
    panel.image_box.layer = first
    before = segmented()
    assert segmented() is before
    second.data = noise(40, 60, seed=7)
    assert dock.results is None
    after = segmented()
    assert (np.asarray(after.heads.values) != np.asarray(before.heads.values)).any()


def test_what_is_painted_over_layers_is_learnt_with_all_of_them(viewer, dock, segmented):
    layers = add_channels(viewer, 3, 40, 60)
    dock.segment_panel.model_box.names.setCurrentText("tiny2")
    layer = segmented().layers["L3"].layer
    z = int(viewer.dims.current_step[0])
    layer.data_setitem(tuple(np.array([n]) for n in (z, 5, 6)), 1 - layer.data[z, 5, 6])
    mask = dock.finetune_part.masks.chosen()
    assert mask.corrected() == [(z,)]
    correction = mask.correction((z,), dock.finetune_part.keeper.lesson)
    np.testing.assert_array_equal(correction.image, [each.data[z] for each in layers])


def test_a_view_of_layers_in_several_sizes_is_segmented_as_shown(viewer, dock, segmented):
    for number in range(2):
        full = noise(1200, 1600, seed=number)
        levels = [full, full[::2, ::2], full[::4, ::4]]
        layer = viewer.add_image(levels, multiscale=True, name=f"C{number}")
        layer.data_level = 2
    panel = dock.segment_panel
    panel.model_box.names.setCurrentText("tiny2")
    panel.where_row.value = "view"
    found = segmented()
    assert found.level > 0
    assert found.layers["L1"].layer.data.any()
    assert f"at 1/{2**found.level} size" in panel.message.text()
