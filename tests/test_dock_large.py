"""The dock with images in several sizes, lazy ones, channels, and volumes."""

from __future__ import annotations

from collections import Counter

import dask.array as da
import numpy as np
import pytest
from images import noise
from napari.layers import Labels
from napari.utils.notifications import notification_manager

from napari_unetpp.inference import on_disk
from napari_unetpp.models.file import save_model
from napari_unetpp.training.correction_folder import read_correction
from napari_unetpp.widgets import making, result_layer, run
from napari_unetpp.widgets.geometry import METADATA_KEY
from napari_unetpp.widgets.result_layer import level_shapes


@pytest.fixture
def tiny_store(tiny_store, make_model, tmp_path):
    """With a model of volumes, too."""
    model = make_model(dims=3, widths=(4, 6, 8), voxel_size=(1.0, 0.5, 0.5))
    spec = model.spec.model_copy(update={"name": "tiny3d"})
    save_model(model.network, spec, tmp_path / "models" / "tiny3d.safetensors")
    return tiny_store


def pyramid(pixels, levels=3):
    found = [pixels]
    for _ in range(levels - 1):
        last = found[-1]
        height, width = (n // 2 * 2 for n in last.shape)
        last = last[:height, :width].reshape(height // 2, 2, width // 2, 2)
        found.append(last.mean(axis=(1, 3)).astype(pixels.dtype))
    return [da.from_array(level, chunks=64) for level in found]


def test_a_view_is_segmented_at_the_size_shown_and_lies_on_its_image(viewer, dock, segmented):
    levels = pyramid(noise(1200, 1600))
    image = viewer.add_image(
        levels, multiscale=True, name="slide", scale=(0.5, 0.25), translate=(3, 4)
    )
    image.data_level = 2
    dock.segment_panel.where_row.value = "view"
    found = segmented()
    assert found.level > 0
    factor = 2**found.level
    layer = found.layers["L1"].layer
    assert layer.name == f"slide · 1/{factor} size · L1"
    assert f"at 1/{factor} size" in dock.segment_panel.message.text()
    np.testing.assert_allclose(layer.scale, (0.5 * factor, 0.25 * factor))
    # the first pixel lies in the middle of those that it stands for
    first = image.data_to_world(((factor - 1) / 2, (factor - 1) / 2))
    np.testing.assert_allclose(layer.data_to_world((0, 0)), first)
    assert layer.data.any()


def test_a_view_can_be_segmented_at_full_size(viewer, dock, segmented):
    levels = pyramid(noise(240, 330))
    viewer.add_image(levels, multiscale=True, name="slide")
    panel = dock.segment_panel
    assert panel.full_size_box.isVisibleTo(panel)
    panel.where_row.value = "view"
    panel.full_size_box.setChecked(True)
    found = segmented()
    assert found.level == 0
    assert found.layers["L1"].layer.data.shape == (240, 330)
    assert found.provenance["level"] == 0


def test_results_of_large_planes_have_levels_that_agree(viewer, dock, segmented, monkeypatch):
    monkeypatch.setattr(making, "LARGEST_FLAT", 100)
    monkeypatch.setattr("napari_unetpp.widgets.result_layer.COARSEST", 90)
    viewer.add_image(noise(230, 331), name="cells")
    dock.segment_panel.where_row.value = "plane"
    found = segmented()
    layer = found.layers["L2"].layer
    assert layer.multiscale
    assert [level.shape for level in layer.data] == level_shapes((230, 331))
    assert len(layer.data) == 3
    for number, level in enumerate(layer.data):
        np.testing.assert_array_equal(level, layer.data[0][:: 2**number, :: 2**number])
    assert layer.data[0].any()


def test_of_filled_heads_the_deepest_is_shown_in_the_end(viewer, dock, segmented, monkeypatch):
    monkeypatch.setattr(result_layer, "LARGEST_OUTLINED", 100)
    during = []
    dock.session.run_started.connect(
        lambda run: run.tile_done.connect(
            lambda tile: during.append(dict(dock.results.shown.visible))
        )
    )
    viewer.add_image(noise(230, 331), name="cells")
    found = segmented()
    assert during[-1] == {"L1": True, "L2": False, "L3": True}
    assert found.shown.visible == {"L1": False, "L2": False, "L3": True}
    assert not dock.heads_panel.boxes["L2"].isChecked()
    dock.heads_panel.boxes["L2"].click()  # what the user wants to see stays
    dock.heads_panel.slider.setValue(0.4)
    assert segmented() is found
    assert found.shown.visible == {"L1": False, "L2": True, "L3": True}
    shown = found.layers["L2"].layer
    assert shown.visible
    assert shown.data.any()


def test_heads_that_the_user_showed_or_hid_meanwhile_stay_so(viewer, dock, segmented, monkeypatch):
    monkeypatch.setattr(result_layer, "LARGEST_OUTLINED", 100)

    def flip(tile):
        if tile.head == 2:
            for key in ("L1", "L2"):
                dock.results.layers[key].layer.visible = False
                dock.results.layers[key].layer.visible = True

    dock.session.run_started.connect(lambda run: run.tile_done.connect(flip))
    viewer.add_image(noise(230, 331), name="cells")
    assert segmented().shown.visible == {"L1": True, "L2": True, "L3": True}


def test_a_run_that_goes_on_shows_its_first_head_again(viewer, dock, segmented, monkeypatch):
    monkeypatch.setattr(result_layer, "LARGEST_OUTLINED", 100)
    viewer.add_image(noise(2, 230, 331), name="cells")
    dock.segment_panel.where_row.value = "plane"
    found = segmented()
    assert found.shown.visible == {"L1": False, "L2": False, "L3": True}
    during = []
    dock.session.run_started.connect(
        lambda run: run.tile_done.connect(lambda tile: during.append(dict(found.shown.visible)))
    )
    viewer.dims.set_point(0, 1 - viewer.dims.point[0])
    assert segmented() is found
    assert during[0] == {"L1": True, "L2": False, "L3": True}
    assert found.shown.visible == {"L1": False, "L2": False, "L3": True}
    dock.segment_panel.depth_row.value = "L2"
    viewer.dims.set_point(0, 1 - viewer.dims.point[0])
    assert segmented() is found
    assert found.shown.visible["L2"]
    assert found.shown.visible["L3"]  # deeper ones are left as they are


def test_a_head_that_is_being_painted_is_not_hidden(viewer, dock, segmented, monkeypatch):
    monkeypatch.setattr(result_layer, "LARGEST_OUTLINED", 100)

    def take_the_brush(tile):
        if tile.head == 2:
            dock.results.layers["L1"].layer.mode = "paint"

    dock.session.run_started.connect(lambda run: run.tile_done.connect(take_the_brush))
    viewer.add_image(noise(230, 331), name="cells")
    found = segmented()
    assert found.shown.visible == {"L1": True, "L2": False, "L3": True}
    assert found.layers["L1"].layer.mode == "paint"


def test_outlined_heads_are_all_shown(viewer, dock, segmented):
    viewer.add_image(noise(230, 331), name="cells")
    assert segmented().shown.visible == {"L1": True, "L2": True, "L3": True}


def test_results_on_the_disk_can_be_painted_and_are_kept(viewer, dock, segmented, monkeypatch):
    monkeypatch.setattr(run, "fits_in_memory", lambda needed: False)
    viewer.add_image(noise(3, 80, 110), name="cells")
    dock.segment_panel.where_row.value = "plane"
    found = segmented()
    layer = found.layers["L3"].layer
    assert not isinstance(layer.data, np.ndarray)
    layer.data_setitem((np.array([0]), np.array([5]), np.array([6])), 2)
    assert layer.data[0, 5, 6] == 2
    dock.heads_panel.slider.setValue(0.3)
    assert layer.data[0, 5, 6] == 2
    assert layer not in [made.layer for made in found.layers.values()]


def test_instances_of_large_planes_are_told_apart_tile_by_tile(
    viewer, dock, segmented, qtbot, monkeypatch
):
    viewer.add_image(noise(230, 331), name="cells")
    dock.segment_panel.where_row.value = "plane"
    found = segmented()
    deepest = found.heads.probabilities[-1]
    deepest[:] = np.where(discs((230, 331)), 255, 0)
    expected = len(discs_centres((230, 331)))
    monkeypatch.setattr("napari_unetpp.inference.instance_tiles.WHOLE_PIXELS", 0)
    monkeypatch.setattr("napari_unetpp.inference.instance_tiles.TILE", {2: 70})
    monkeypatch.setattr("napari_unetpp.inference.instance_tiles.BORDER", {2: 48})
    monkeypatch.setattr("napari_unetpp.widgets.derived.WRITTEN", 50)
    dock.heads_panel.boxes["instances"].click()
    layer = found.layers["instances"].layer
    qtbot.waitUntil(lambda: bool((np.asarray(layer.data)[deepest > 0] > 0).all()), timeout=10000)
    assert set(np.unique(layer.data)) == set(range(expected + 1))


def discs_centres(shape):
    return [(y, x) for y in range(15, shape[0], 26) for x in range(15, shape[1], 26)]


def discs(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.any([np.hypot(y - a, x - b) <= 11 for a, b in discs_centres(shape)], axis=0)


def test_the_channel_is_the_visible_one_or_the_chosen_one(viewer, dock, segmented):
    viewer.add_image(noise(2, 40, 60), name="cells")
    panel = dock.segment_panel
    assert not panel.channel_row.isVisibleTo(panel)
    panel.axes_edit.setText("CYX")
    panel.axes_edit.textEdited.emit("CYX")
    assert panel.channel_row.isVisibleTo(panel)
    viewer.dims.set_current_step(0, 1)
    assert segmented().provenance["channels"] == (1,)
    panel.channel_row.boxes[0].setCurrentText("0")
    assert segmented().provenance["channels"] == (0,)


def test_a_channel_of_colour_can_be_chosen(viewer, dock, segmented):
    rgb = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    viewer.add_image(rgb, name="cells")
    box = dock.segment_panel.channel_row.boxes[0]
    assert [box.itemText(n) for n in range(box.count())] == ["grey", "red", "green", "blue"]
    box.setCurrentText("blue")
    assert segmented().provenance["channels"] == (2,)


def test_where_is_what_can_be_had_soon(viewer, dock, monkeypatch):
    panel = dock.segment_panel
    viewer.add_image(noise(3, 40, 60), name="stack")
    assert panel.where_row.value == "stack"
    monkeypatch.setattr("napari_unetpp.widgets.where_row.SOON", 4000)
    panel.image_box.layer = viewer.add_image(noise(3, 40, 61), name="larger stack")
    assert panel.where_row.value == "plane"
    large = da.zeros((300, 400), chunks=100)
    panel.image_box.layer = viewer.add_image(large, name="large plane")
    assert panel.where_row.value == "view"


def test_a_volume_is_segmented_as_one(viewer, dock, segmented):
    image = viewer.add_image(noise(2, 6, 40, 60), name="embryo", scale=(1, 2.0, 0.5, 0.5))
    image.units = ("s", "µm", "µm", "µm")
    panel = dock.segment_panel
    panel.model_box.names.setCurrentText("tiny3d")
    assert panel.where_row.choices == ["view", "volume", "stack"]
    assert dock.heads_panel.boxes.keys() >= {"L1", "L2"}
    panel.where_row.value = "volume"
    viewer.dims.set_current_step(0, 1)
    found = segmented()
    assert found.provenance["pixel_size"] == (2.0, 0.5, 0.5)
    assert (np.asarray(found.heads.reached)[1] == 2).all()
    assert not np.asarray(found.heads.reached)[0].any()
    layer = found.layers["L2"].layer
    assert isinstance(layer, Labels)
    assert layer.data.shape == (2, 6, 40, 60)
    np.testing.assert_allclose(layer.scale, image.scale)
    assert layer.units == image.units
    assert layer.metadata[METADATA_KEY]["model"] == "tiny3d"
    dock.heads_panel.boxes["instances"].setChecked(True)


def test_lengths_without_a_unit_tell_how_the_axes_compare(viewer, dock, segmented):
    viewer.add_image(noise(6, 40, 60), name="embryo", scale=(3.0, 1.0, 1.0))
    dock.segment_panel.model_box.names.setCurrentText("tiny3d")
    assert segmented().provenance["pixel_size"] == (1.5, 0.5, 0.5)


def test_a_plane_is_told_apart_from_a_volume(viewer, dock, monkeypatch):
    told = []
    monkeypatch.setattr("napari_unetpp.widgets.dock.show_error", told.append)
    viewer.add_image(noise(40, 60), name="plane")
    dock.segment_panel.model_box.names.setCurrentText("tiny3d")
    dock.segment_panel.button.click()
    assert told == [
        "The model is for volumes, and the image has no Z (axes YX): correct the axes or choose a "
        "model for planes."
    ]


def test_what_is_painted_on_a_volume_is_learnt_with_the_planes_around(
    viewer, dock, segmented, qtbot, monkeypatch
):
    pixels = noise(6, 40, 60)
    viewer.add_image(pixels, name="embryo", scale=(2.0, 0.5, 0.5))
    dock.segment_panel.model_box.names.setCurrentText("tiny3d")
    layer = segmented().layers["L2"].layer
    layer.paint((2, 20, 30), 1 - int(layer.data[2, 20, 30]))
    part = dock.finetune_part
    with qtbot.waitSignal(part.keeper.gathered, timeout=20_000) as gathered:
        part.keeper.gather(part.keeper.lesson)
    (kept,) = gathered.args[0]
    correction = read_correction(kept.path)
    assert correction.source.index == (2,)
    np.testing.assert_array_equal(correction.slab.image[0], pixels)
    assert correction.slab.place == 2
    # in pixels without a unit: as long in a plane as the model's, and four times as far apart
    assert correction.slab.voxel_size == (2.0, 0.5, 0.5)


def test_each_chunk_of_a_lazy_volume_is_read_once_for_a_correction(viewer, dock, segmented, qtbot):
    pixels, reads = noise(6, 40, 60), Counter()

    def block(block_info=None):
        place = block_info[None]["array-location"]
        reads[tuple(start for start, _ in place)] += 1
        return pixels[tuple(slice(*part) for part in place)]

    chunks = ((3, 3), (40,), (32, 28))
    lazy = da.map_blocks(block, chunks=chunks, dtype=pixels.dtype, meta=pixels[:0, :0, :0])
    viewer.add_image(lazy, name="embryo", scale=(2.0, 0.5, 0.5), contrast_limits=(0, 4000))
    dock.segment_panel.model_box.names.setCurrentText("tiny3d")
    layer = segmented().layers["L2"].layer
    layer.paint((2, 20, 30), 1 - int(layer.data[2, 20, 30]))
    part = dock.finetune_part
    part.keeper.gather(part.keeper.lesson)
    mask = part.keeper.mask_of(layer)
    qtbot.waitUntil(lambda: bool(part.keeper.kept), timeout=20_000)
    reads.clear()
    correction = mask.correction((2,), part.keeper.lesson)
    np.testing.assert_array_equal(correction.slab.image[0], pixels)
    assert len(reads) == 4
    assert set(reads.values()) == {1}


def test_a_full_disk_is_told_once_and_the_window_lives_on(viewer, dock, qtbot, monkeypatch):
    import zarr

    monkeypatch.setattr(run, "fits_in_memory", lambda needed: False)
    monkeypatch.setattr(on_disk, "KEPT_CHUNKS", 1)
    monkeypatch.setattr(result_layer, "KEPT", 1)
    told = []
    monkeypatch.setattr("napari_unetpp.widgets.dock.show_error", told.append)

    def full(self, key, value):
        raise OSError(28, "No space left on device")

    viewer.add_image(noise(80, 110), name="cells")
    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    dock.segment_panel.button.click()
    qtbot.waitUntil(lambda: bool(told) and not dock.running, timeout=60000)
    assert "No space left on device" in told[0]
    assert dock.segment_panel.button.text() == "Segment"


@pytest.mark.parametrize("axes", ["TZCYX", "ZCYX", "YXC"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_each_slider_moves_the_same_in_image_and_result(
    viewer, dock, segmented, monkeypatch, axes, on_disk
):
    """napari lines layers up by their last axes: channels in the middle must not shift them."""
    monkeypatch.setattr(run, "fits_in_memory", lambda needed: not on_disk)
    lengths = {"T": 2, "Z": 3, "C": 4, "Y": 40, "X": 60}
    shape = tuple(lengths[a] for a in axes)
    scale = tuple({"T": 7, "Z": 2, "C": 1}.get(a, 0.5) for a in axes)
    viewer.add_image(noise(*shape), name="cells", scale=scale, rgb=False)
    panel = dock.segment_panel
    panel.axes_edit.setText(axes)
    panel.axes_edit.textEdited.emit(axes)
    panel.channel_row.boxes[0].setCurrentText("2")
    if "Z" in axes:
        panel.where_row.value = "stack"
    found = segmented()
    layer = found.layers["L1"].layer
    assert layer.ndim == len(axes)
    masks = found.heads.masks(0.5)[0]
    assert masks.any()
    assert not masks.all()
    rng = np.random.default_rng(0)
    image = found.image
    for _ in range(20):
        place = {a: int(rng.integers(lengths[a])) for a in axes}
        world = image.data_to_world([place[a] for a in axes])
        expected = masks[tuple(place[a] for a in axes if a != "C")]
        seen = tuple(int(n) for n in np.rint(layer.world_to_data(world)))
        assert np.asarray(layer.data[seen]) == expected


def test_what_is_painted_on_a_channel_is_learnt_from(viewer, dock, segmented):
    viewer.add_image(noise(3, 2, 40, 60), name="cells")
    panel = dock.segment_panel
    panel.axes_edit.setText("ZCYX")
    panel.axes_edit.textEdited.emit("ZCYX")
    panel.where_row.value = "plane"
    found = segmented()
    layer = found.layers["L3"].layer
    z = int(viewer.dims.current_step[0])
    layer.data_setitem(tuple(np.array([n]) for n in (z, 0, 5, 6)), 1 - layer.data[z, 0, 5, 6])
    mask = dock.finetune_part.masks.chosen()
    assert mask.corrected() == [(z,)]


class Torn:
    """A lazy image of which the middle of the first plane can't be read any more."""

    def __init__(self, pixels):
        self.pixels, self.torn = pixels, False
        self.shape, self.dtype, self.ndim = pixels.shape, pixels.dtype, pixels.ndim
        self.chunks = (1, 160, 105)

    def __getitem__(self, key):
        if self.torn and key[0] == slice(0, 1) and key[-1].start <= 210 < key[-1].stop:
            raise OSError("the checksum is wrong")
        return self.pixels[key]


def test_parts_that_cannot_be_read_are_named_and_the_rest_is_segmented(viewer, dock, segmented):
    image = Torn(noise(2, 160, 420))
    viewer.add_image(image, name="torn", contrast_limits=(0, 4000))
    viewer.dims.set_point(0, 0)
    image.torn = True
    dock.segment_panel.where_row.value = "stack"
    dock.segment_panel.tile_box.setValue(160)
    found = segmented()
    assert set(found.layers) == {"L1", "L2", "L3"}
    told = [record.message for record in notification_manager.records]
    assert any("the checksum is wrong" in one and "is left out" in one for one in told)
    assert not found.heads.reached[0, :, 210:315].any()
    assert found.heads.reached[0, :, :64].all()
    assert found.heads.reached[1].all()


@pytest.mark.filterwarnings("ignore:Contours are not displayed")
@pytest.mark.parametrize("view", ["plane", "3D", "under a volume", "rolled", "in several sizes"])
def test_next_uncertain_goes_near_once(viewer, dock, segmented, qtbot, view):
    pixels = noise(3, 600, 700)
    if view == "in several sizes":
        pixels = [da.from_array(pixels[:, ::step, ::step], chunks=512) for step in (1, 2)]
    scale = (1, 0.5, 0.5)
    if view == "under a volume":
        viewer.add_image(pixels[0], scale=scale[1:])
        viewer.add_labels(np.zeros(pixels.shape, np.uint8), scale=scale)
    else:
        viewer.add_image(pixels, multiscale=isinstance(pixels, list), scale=scale)
    dock.segment_panel.where_row.value = "plane"
    values = segmented().heads.values
    values[:] = 255
    values[-1, 0, ..., 300:316, 400:416] = 128
    if view in ("3D", "under a volume"):
        viewer.dims.ndisplay = 3
    elif view == "rolled":
        viewer.dims.roll()
        viewer.reset_view()
    qtbot.wait(100)  # the sliders and the canvas take their places
    camera = getattr(viewer, "scene", viewer).camera
    before = camera.zoom
    dock.heads_panel.next_button.click()
    qtbot.waitUntil(lambda: camera.zoom > before, timeout=10_000)
    near = camera.zoom
    assert 1.2 < near / before < 40
    for _ in range(3):
        qtbot.wait(50)  # napari draws
        dock.heads_panel.next_button.click()
    assert camera.zoom == near
    places = {0: viewer.dims.point[0], 1: 154, 2: 204}
    expected = [places[axis] for axis in viewer.dims.displayed]
    np.testing.assert_allclose(camera.center[-len(expected) :], expected, atol=4)
    camera.zoom = 3 * near
    dock.heads_panel.next_button.click()
    assert camera.zoom == 3 * near
