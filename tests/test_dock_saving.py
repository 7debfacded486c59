"""Results are saved from napari's menu, and opened again, with all that is known of them."""

from __future__ import annotations

import json

import dask.array as da
import npe2
import numpy as np
import pytest
import tifffile
import zarr
from images import noise
from napari.layers import Image, Labels
from npe2 import PluginManager

from napari_unetpp.files import read_image
from napari_unetpp.widgets import making, run
from napari_unetpp.widgets.geometry import METADATA_KEY
from napari_unetpp.widgets.spanning import WithoutAxis

PLUGIN = "napari-unetpp"
PLACE = {"scale": (2, 0.5, 0.25), "units": ("µm", "µm", "µm"), "axis_labels": ("z", "y", "x")}


def save(viewer, path, *layers):
    viewer.layers.selection = set(layers)
    return viewer.layers.save(str(path), selected=True)


def writer_of(command, types):
    found = PluginManager.instance().iter_compatible_writers(types)
    return next(writer for writer in found if writer.command == f"{PLUGIN}.{command}")


def reopened(viewer, path):
    """One layer, opened in a viewer without others."""
    viewer.layers.clear()
    (layer,) = viewer.open(str(path), plugin=PLUGIN)
    return layer


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("name", ["masks.ome.zarr", "masks.zarr", "masks.ome.tif"])
def test_a_result_comes_back_as_it_was(viewer, segmented, monkeypatch, tmp_path, name, on_disk):
    monkeypatch.setattr(run, "fits_in_memory", lambda needed: not on_disk)
    viewer.add_image(noise(3, 80, 110), name="cells", translate=(1, 2, 3), **PLACE)
    layer = segmented().layers["L2"].layer
    layer.data_setitem((np.array([1]), np.array([5]), np.array([6])), 7)  # painted
    wanted, made = np.asarray(layer.data), layer.metadata[METADATA_KEY]
    path = tmp_path / name
    assert save(viewer, path, layer) == [str(path)]
    found = reopened(viewer, path)
    assert isinstance(found, Labels)
    np.testing.assert_array_equal(found.data, wanted)
    assert np.asarray(found.data)[1, 5, 6] == 7
    np.testing.assert_allclose(found.scale, PLACE["scale"])
    assert found.units == layer.units
    assert found.axis_labels == ("z", "y", "x")
    if "zarr" in name:
        np.testing.assert_allclose(found.translate, (1, 2, 3))
    assert found.metadata[METADATA_KEY] == json.loads(json.dumps(made))
    assert read_image(path).axes == "ZYX"


def test_disagreement_comes_back_as_an_image(viewer, dock, segmented, tmp_path, qtbot):
    viewer.add_image(noise(80, 110), name="cells", scale=(0.5, 0.5), units=("µm", "µm"))
    found = segmented()
    found.show("disagreement")
    qtbot.waitUntil(lambda: found.idle)
    layer = found.layers["disagreement"].layer
    for name in ("d.ome.zarr", "d.ome.tiff"):
        save(viewer, tmp_path / name, layer)
        assert "image-label" not in str(zarr.open(tmp_path / "d.ome.zarr").attrs.asdict())
        (again,) = viewer.open(str(tmp_path / name), plugin=PLUGIN)
        assert isinstance(again, Image)
        np.testing.assert_array_equal(again.data, layer.data)
        np.testing.assert_allclose(again.scale, (0.5, 0.5))
    assert dock.segment_panel.image_box.count() == 1  # as before: these are results


def test_large_planes_are_saved_from_full_size_with_levels(
    viewer, segmented, monkeypatch, tmp_path
):
    monkeypatch.setattr(making, "LARGEST_FLAT", 100)
    monkeypatch.setattr("napari_unetpp.widgets.result_layer.COARSEST", 90)
    monkeypatch.setattr("napari_unetpp.files.zarr_write.OVERVIEW", 120)
    viewer.add_image(noise(230, 331), name="cells", scale=(0.5, 0.5), units=("µm", "µm"))
    layer = segmented().layers["L1"].layer
    assert layer.multiscale
    wanted = np.asarray(layer.data[0])
    for name in ("large.ome.zarr", "large.ome.tif"):
        save(viewer, tmp_path / name, layer)
        np.testing.assert_array_equal(read_image(tmp_path / name).data, wanted)
    found = reopened(viewer, tmp_path / "large.ome.zarr")
    assert found.multiscale
    assert [level.shape for level in found.data] == [(230, 331), (115, 166), (58, 83)]


def test_results_of_channels_are_saved_without_their_axis(viewer, dock, segmented, tmp_path):
    viewer.add_image(noise(3, 2, 40, 60), name="cells")
    panel = dock.segment_panel
    panel.axes_edit.setText("ZCYX")
    panel.axes_edit.textEdited.emit("ZCYX")
    layer = segmented().layers["L3"].layer
    assert layer.data.shape == (3, 1, 40, 60)
    save(viewer, tmp_path / "masks.ome.zarr", layer)
    again = read_image(tmp_path / "masks.ome.zarr")
    assert again.axes == "ZYX"
    np.testing.assert_array_equal(again.data, layer.data[:, 0])


def test_several_results_become_a_folder_of_label_images(viewer, segmented, tmp_path):
    viewer.add_image(noise(40, 60), name="cells", scale=(0.5, 0.5), units=("µm", "µm"))
    found = segmented()
    layers = [found.layers[key].layer for key in ("L1", "L2")]
    wanted = [np.asarray(layer.data) for layer in layers]
    save(viewer, tmp_path / "masks.zarr", *layers)
    viewer.layers.clear()
    again = viewer.open(str(tmp_path / "masks.zarr"), plugin=PLUGIN)
    assert [layer.name for layer in again] == ["cells · L1", "cells · L2"]
    for layer, pixels in zip(again, wanted, strict=True):
        assert isinstance(layer, Labels)
        np.testing.assert_array_equal(layer.data, pixels)
        np.testing.assert_allclose(layer.scale, (0.5, 0.5))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.float64, bool])
def test_a_users_image_keeps_its_numbers(viewer, tmp_path, dtype):
    pixels = (noise(30, 40).astype(float) - 2000).astype(dtype)
    layer = viewer.add_image(pixels, name="a")
    for name in ("a.ome.zarr", "a.ome.tif"):
        save(viewer, tmp_path / name, layer)
        np.testing.assert_array_equal(read_image(tmp_path / name).data, pixels)


def test_what_is_not_kept_is_told(viewer, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("napari_unetpp.widgets.saving.show_warning", told.append)
    layer = viewer.add_labels(np.ones((30, 40), int), name="a", scale=(2, 2), rotate=30)
    save(viewer, tmp_path / "a.ome.zarr", layer)
    assert told == [
        "a is saved without its scale, which has no unit: set one first, and its rotation, shear "
        "or affine."
    ]
    layer = viewer.add_labels(np.ones((30, 40), int), name="b", scale=(2, 2), units=("nm", "nm"))
    save(viewer, tmp_path / "b.ome.zarr", layer)
    assert len(told) == 1
    assert read_image(tmp_path / "b.ome.zarr").pixel_size.lengths == {"Y": 0.002, "X": 0.002}


def test_names_without_an_end_get_one(viewer, tmp_path):
    layer = viewer.add_labels(np.ones((30, 40), int), name="a")
    viewer.layers.selection = {layer}
    path = str(tmp_path / "masks")
    for command, end in (("save_labels_as_zarr", ".ome.zarr"), ("save_as_tiff", ".ome.tif")):
        writer = writer_of(command, ["labels"])
        assert viewer.layers.save(path, selected=True, _writer=writer) == [path + end]


def test_names_that_napari_writes_are_left_to_it():
    manager = PluginManager.instance()
    for types in (["labels"], ["image"]):
        for path in ("a.tif", "a.tiff", "a"):
            writer, _ = manager.get_writer(path, types)
            assert writer.plugin_name == "napari"
        for path in ("a.ome.zarr", "a.zarr", "a.ome.tif", "a.ome.tiff"):
            writer, _ = manager.get_writer(path, types)
            assert writer.plugin_name == PLUGIN


def test_an_existing_folder_is_kept(viewer, tmp_path):
    layer = viewer.add_labels(np.ones((30, 40), int), name="a")
    path = tmp_path / "a.ome.zarr"
    path.mkdir()
    (path / "mine").write_text("")
    with pytest.raises(OSError, match="exists and is kept: choose another name"):
        save(viewer, path, layer)
    assert [each.name for each in path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_a_place_that_cannot_be_written_is_told_in_one_sentence(viewer, tmp_path, name):
    layer = viewer.add_labels(np.ones((30, 40), int), name="a")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can't be written .*: choose another place or make room"):
        save(viewer, tmp_path / "file" / name, layer)


def test_a_full_disk_is_told_and_nothing_half_written_stays(viewer, tmp_path, monkeypatch):
    layer = viewer.add_labels(np.ones((30, 40), int), name="a")

    def full(self, key, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(OSError, match="No space left on device"):
        save(viewer, tmp_path / "a.ome.zarr", layer)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pixels", "options", "words"),
    [
        (noise(2, 30, 40), {"axis_labels": ("c", "y", "x")}, "has 2 channels"),
        (noise(30, 40, 3).astype(np.uint8), {"rgb": True}, "has 3 channels"),
        (noise(30, 40).astype(np.int64), {}, "dtype int64"),
    ],
)
def test_what_cannot_be_saved_is_told(viewer, tmp_path, pixels, options, words):
    layer = viewer.add_image(pixels, name="a", **options)
    with pytest.raises(OSError, match=words):
        save(viewer, tmp_path / "a.ome.tif", layer)
    assert list(tmp_path.iterdir()) == []


class Watched:
    """A lazy volume that remembers how much of it was asked for at once."""

    chunks = (8, 64, 64)

    def __init__(self, pixels):
        self._pixels, self.largest, self.read = pixels, 0, 0
        self.shape, self.dtype, self.ndim = pixels.shape, pixels.dtype, pixels.ndim

    def __getitem__(self, key):
        part = self._pixels[key]
        self.largest, self.read = max(self.largest, part.size), self.read + part.size
        return part


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_what_is_large_is_read_piece_by_piece_and_once(tmp_path, monkeypatch, name):
    monkeypatch.setattr("napari_unetpp.files.zarr_write.CHUNK", 64)
    monkeypatch.setattr("napari_unetpp.files.tiff_write.TILE", 64)
    pixels = noise(32, 200, 190).astype(np.uint8)
    lazy = Watched(pixels)
    layer = Labels(np.zeros(lazy.shape, np.uint8), name="a")
    _, meta, kind = layer.as_layer_data_tuple()
    npe2.write(path=str(tmp_path / name), layer_data=[(lazy, dict(meta), kind)])
    np.testing.assert_array_equal(read_image(tmp_path / name).data, pixels)
    assert lazy.read == pixels.size
    assert lazy.largest <= pixels.size // 16
    assert WithoutAxis(zarr.ones((2, 1, 3)), 1).shape == (2, 3)


def test_bigtiff_is_written_where_it_has_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_unetpp.files.tiff_write.IMAGEJ_BYTES", 1000)
    data, meta, kind = Labels(np.ones((30, 40), np.uint8), name="a").as_layer_data_tuple()
    npe2.write(path=str(tmp_path / "a.ome.tif"), layer_data=[(data, dict(meta), kind)])
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_bigtiff
        assert file.is_ome


def test_files_of_others_are_opened_with_their_scale_and_stay_in_the_file(viewer, tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    group.create_array("0", data=noise(2, 30, 40), chunks=(1, 30, 40))
    scale = {"type": "scale", "scale": [3, 0.5, 0.5]}
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    (layer,) = viewer.open(str(tmp_path / "a.zarr"), plugin=PLUGIN)
    assert isinstance(layer, Image)
    assert isinstance(layer.data, da.Array)
    np.testing.assert_allclose(layer.scale, (3, 0.5, 0.5))
    assert layer.name == "a"


def test_a_damaged_file_is_told_in_one_sentence(viewer, tmp_path):
    (tmp_path / "a.ome.tif").write_bytes(b"II*\0nothing")
    with pytest.raises(Exception, match="can't be read as an image"):
        viewer.open(str(tmp_path / "a.ome.tif"), plugin=PLUGIN)
