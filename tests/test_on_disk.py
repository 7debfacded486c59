"""Arrays on the disk: as numpy's, with just the last chunks in memory."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.inference import on_disk
from napari_unetpp.inference.on_disk import DiskArray, waiting_bytes


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "array").mkdir()
    return tmp_path / "array"


@st.composite
def keys(draw, shape):
    """Integers, slices with any step, an ellipsis; or pixels one by one."""
    if draw(st.booleans()):
        count = draw(st.integers(1, 5))
        return tuple(
            np.array(draw(st.lists(st.integers(-n, n - 1), min_size=count, max_size=count)))
            for n in shape
        )
    parts = []
    for n in shape:
        ends = st.one_of(st.none(), st.integers(-n - 1, n + 1))
        step = draw(st.sampled_from([None, 1, 2, 3, -1]))
        bounds = (None, None) if step == -1 else (draw(ends), draw(ends))
        parts.append(draw(st.one_of(st.integers(-n, n - 1), st.just(slice(*bounds, step)))))
    return (*parts[:-1], ...) if draw(st.booleans()) else tuple(parts)


@given(data=st.data())
def test_it_is_indexed_and_filled_as_numpy_is(data, tmp_path_factory):
    shape, chunks = (3, 11, 14), (1, 4, 5)
    array = DiskArray(tmp_path_factory.mktemp("array"), shape, chunks, np.uint16)
    wanted = np.zeros(shape, np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_disk, "KEPT_CHUNKS", 2)
        for value in range(1, 6):
            key = data.draw(keys(shape))
            array[key] = wanted[key] = (
                np.arange(wanted[key].size).reshape(wanted[key].shape) + value
            )
            key = data.draw(keys(shape))
            np.testing.assert_array_equal(array[key], wanted[key])
        np.testing.assert_array_equal(array, wanted)


def test_just_what_has_to_make_room_is_written(folder, monkeypatch):
    monkeypatch.setattr(on_disk, "KEPT_CHUNKS", 3)
    array = DiskArray(folder, (40, 50), (10, 10), np.uint8)
    array[0:10, 0:30] = 1
    assert not list(folder.iterdir())
    assert waiting_bytes(folder.parent) == array.waiting == 300
    array[10:20, 0:10] = 2
    assert len([path for path in folder.rglob("c/*/*") if path.is_file()]) == 1
    assert array.waiting == 300
    np.testing.assert_array_equal(array[:20, 0], [1] * 10 + [2] * 10)


def test_reading_all_of_it_writes_nothing(folder, monkeypatch):
    monkeypatch.setattr(on_disk, "KEPT_CHUNKS", 2)
    array = DiskArray(folder, (40, 50), (10, 10), np.uint8)
    array[:10, :20] = 3
    assert int(np.asarray(array).sum()) == 600
    assert not list(folder.iterdir())


def test_what_cannot_be_written_is_not_lost(folder, monkeypatch):
    monkeypatch.setattr(on_disk, "KEPT_CHUNKS", 1)
    array = DiskArray(folder, (20, 30), (10, 10), np.uint8)
    array[:10, :10] = 7
    with monkeypatch.context() as patch:

        def full(**_):
            raise OSError(28, "No space left on device")

        patch.setattr(zarr, "create_array", full)
        with pytest.raises(OSError, match="No space"):
            array[10:, :10] = 8
    assert (array[:10, :10] == 7).all()
    array[10:, 20:] = 9
    assert (array[:10, :10] == 7).all()


def test_it_goes_with_its_folder(folder):
    array = DiskArray(folder, (20, 30), (10, 10), np.uint8)
    array[:] = 1
    array.clear()
    assert not folder.exists()
    assert not np.asarray(array).any()
    folder.mkdir()
    del array
    gc.collect()
    assert not folder.exists()


def test_a_place_beyond_the_array_is_an_error(folder):
    array = DiskArray(folder, (20, 30), (10, 10), np.uint8)
    with pytest.raises(IndexError, match="out of bounds for an axis of 30"):
        array[3, 30]
