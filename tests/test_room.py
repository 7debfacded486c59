"""Results that are too large for memory lie in the cache folder, and go with their last user."""

from __future__ import annotations

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
    left, other = folder / f"results-{int(ended.stdout)}-abc", folder / f"results-{os.getpid()}-d"
    for each in (left, other):
        each.mkdir(parents=True)
    Heads.empty(Layout("YX", (40, 50)), numbers=(1, 2))
    assert not left.exists()
    assert other.exists()


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
