"""Results that are too large for memory lie in the cache folder, and go with their last user."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys

import numpy as np
import pytest

from napari_unetpp.errors import UserError
from napari_unetpp.inference import heads, room
from napari_unetpp.inference.heads import Heads
from napari_unetpp.inference.layout import Layout
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment, segment_tiles


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(room.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(heads, "fits_in_memory", lambda needed: False)


@pytest.mark.usefixtures("fp32", "little_memory")
@pytest.mark.parametrize("axes", ["ZYX", "XYZ"])
def test_on_the_disk_is_what_would_be_in_memory(tiny_model, monkeypatch, axes, folder):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 1000, (2, 200, 260), np.uint16)
    image = image.transpose(["ZYX".index(a) for a in axes])
    options = SegmentOptions(tile=160)
    on_disk = segment(image, tiny_model, axes=axes, options=options)
    assert not on_disk.in_memory
    assert room.used_bytes() > 0
    monkeypatch.setattr(heads, "fits_in_memory", lambda needed: True)
    wanted = segment(image, tiny_model, axes=axes, options=options)
    np.testing.assert_array_equal(on_disk.values[:], wanted.values)
    np.testing.assert_array_equal(on_disk.reached[:], wanted.reached)
    np.testing.assert_array_equal(on_disk.masks(), wanted.masks())
    del on_disk
    gc.collect()
    assert room.used_bytes() == 0


@pytest.mark.usefixtures("little_memory")
def test_what_a_killed_process_left_goes_with_the_next_store(folder):
    asked = [sys.executable, "-c", "import os; print(os.getpid())"]
    ended = subprocess.run(asked, capture_output=True, check=True)
    number = int(ended.stdout)
    left, ours = folder / f"{room.prefix_of(number)}a", folder / f"{room.prefix_of(os.getpid())}b"
    other = folder / f"{room.prefix_of(number, 'another-computer')}c"
    for each in (left, ours, other):
        each.mkdir(parents=True)
    Heads.empty(Layout("YX", (40, 50)), numbers=(1, 2))
    assert not left.exists()
    assert ours.exists()
    assert other.exists()  # whether its process is gone can't be seen from here


@pytest.mark.usefixtures("little_memory")
def test_a_cache_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch, tiny_model):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(room.CACHE, str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="too large for memory"):
        segment_tiles(np.zeros((30, 40)), tiny_model)


@pytest.mark.usefixtures("little_memory")
def test_a_full_disk_is_told_and_what_is_there_stays(tiny_model, monkeypatch):
    image = np.random.default_rng(0).integers(0, 1000, (3, 60, 80), np.uint16)
    found, events = segment_tiles(image, tiny_model)
    for _ in range(3):
        next(events)

    def full(self, key, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(found.values), "__setitem__", full)
    with pytest.raises(UserError, match=r"can't be written .* \(No space left on device\)"):
        list(events)
    monkeypatch.undo()
    assert (found.reached[0] == 3).all()


@pytest.mark.usefixtures("little_memory")
def test_a_disk_that_is_nearly_full_is_not_filled_up(monkeypatch):
    monkeypatch.setattr(room, "SPARE_BYTES", 1 << 60)
    with pytest.raises(UserError, match="GB are free in"):
        Heads.empty(Layout("YX", (40, 50)), numbers=(1, 2))
    assert room.used_bytes() == 0


@pytest.mark.usefixtures("little_memory")
def test_a_new_run_is_refused_where_results_fill_their_share(monkeypatch, tiny_model, folder):
    image = np.random.default_rng(0).integers(0, 1000, (3, 60, 80), np.uint16)
    first = segment(image, tiny_model)
    assert room.use_of_disk().used == room.used_bytes() > 0
    monkeypatch.setenv(room.MOST, "1e-6")  # a kilobyte
    with pytest.raises(UserError, match=r"Results take 0.0 GB in .*, and 0.0 GB are allowed"):
        segment(image, tiny_model)
    del first
    gc.collect()
    segment(image, tiny_model)


@pytest.mark.parametrize("text", ["much", "-1", "nan", ""])
def test_a_bound_that_is_none_is_told(monkeypatch, text):
    monkeypatch.setenv(room.MOST, text)
    with pytest.raises(UserError, match="give a number of GB, or unset it"):
        room.use_of_disk()


def test_the_usual_bound_is_half_of_the_disk_without_the_stores(monkeypatch, folder):
    store = folder / f"{room.prefix_of(os.getpid())}a" / "values" / "c"
    store.mkdir(parents=True)
    (store / "0").write_bytes(b"1" * 3000)
    (folder / "tiles.json").write_bytes(b"1" * 500)  # no store
    usage = type("Usage", (), {"free": 5000})
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage)
    assert room.use_of_disk() == room.Use(3000, 4000.0)


def test_files_that_vanish_while_they_are_counted_are_no_problem(monkeypatch, folder):
    store = folder / f"{room.prefix_of(os.getpid())}a"
    store.mkdir(parents=True)
    for name in "ab":
        (store / name).write_bytes(b"12")
    scandir = os.scandir

    def late(path):
        entries = list(scandir(path))
        (store / "a").unlink(missing_ok=True)
        return contextlib.nullcontext(entries)

    monkeypatch.setattr(room.os, "scandir", late)
    assert room.used_bytes() == 2


def test_stores_of_another_user_are_no_problem(monkeypatch, folder):
    ours, theirs = (folder / f"{room.prefix_of(os.getpid())}{end}" for end in "ab")
    for store in (ours, theirs):
        store.mkdir(parents=True)
        (store / "0").write_bytes(b"12")
    scandir = os.scandir

    def closed(path):
        if str(path) == str(theirs):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(room.os, "scandir", closed)
    assert room.used_bytes() == 2
