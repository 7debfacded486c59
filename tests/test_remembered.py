"""How large a tile may be is remembered by the next session, as long as that makes sense."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from napari_unetpp.inference import memory, remembered
from napari_unetpp.inference.devices import choose_device
from napari_unetpp.inference.room import cache_folder

GB = 1e9
FREE, TOTAL = 8 * GB, 16 * GB


@pytest.fixture
def next_session(monkeypatch):
    """What only this process knows is gone."""

    def begin():
        monkeypatch.setattr(remembered, "_HERE", {})

    return begin


def test_the_next_session_begins_with_the_tile_that_worked(tiny_model, next_session):
    spec, device = tiny_model.spec, choose_device("cpu")
    before = memory.tile_for(spec, 3, device)
    memory.remember(spec, 3, device, 256)
    next_session()
    assert memory.tile_for(spec, 3, device) == 256 < before
    assert memory.tile_for(spec, 1, device) > 256  # it takes less memory for each pixel
    assert memory.tile_for(spec.model_copy(update={"dims": 3}), 3, device) > 32  # nothing is known


def test_a_smaller_tile_is_remembered_in_place_of_a_larger_one(next_session):
    for room in (4 * GB, 1 * GB):
        remembered.remember("CPU", room, FREE, TOTAL)
        remembered.remember("other", 3 * GB, FREE, TOTAL)
        next_session()
    assert remembered.room_left("CPU", FREE, TOTAL) == 1 * GB
    assert remembered.room_left("other", FREE, TOTAL) == 3 * GB
    assert remembered.room_left("GPU", FREE, TOTAL) == float("inf")


@pytest.mark.parametrize(
    ("free", "total", "holds"),
    [
        (FREE / 2, TOTAL, True),
        (FREE * 1.4, TOTAL, True),
        (FREE * 1.6, TOTAL, False),  # another program has ended
        (FREE, TOTAL * 1.001, True),
        (FREE, 2 * TOTAL, False),  # another computer
    ],
)
def test_it_is_forgotten_when_there_is_more_memory(next_session, free, total, holds):
    remembered.remember("CPU", GB, FREE, TOTAL)
    next_session()
    assert (remembered.room_left("CPU", free, total) == GB) is holds


@pytest.mark.parametrize(("days", "holds"), [(29, True), (31, False), (-2, False)])
def test_it_is_forgotten_after_a_month(next_session, days, holds):
    remembered.remember("CPU", GB, FREE, TOTAL)
    next_session()
    path = cache_folder() / remembered.FILE
    kept = json.loads(path.read_text())
    kept["CPU"]["when"] = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    path.write_text(json.dumps(kept))
    assert (remembered.room_left("CPU", FREE, TOTAL) == GB) is holds


def test_another_version_forgets_it(next_session, monkeypatch):
    remembered.remember("CPU", GB, FREE, TOTAL)
    next_session()
    monkeypatch.setattr("napari_unetpp.__version__", "99.0")
    assert remembered.room_left("CPU", FREE, TOTAL) == float("inf")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"CPU": {"room": "much"}}',
        b'{"CPU": {"room": NaN, "free": 1, "total": 1, "version": "", "when": "2026-01-01"}}',
        b'{"CPU": {"room": 1, "free": 1, "total": 1, "version": "0", "when": "2026-01-01T00:00"}}',
    ],
)
def test_a_broken_file_is_as_good_as_none_and_replaced(next_session, content):
    cache_folder().mkdir(parents=True)
    (cache_folder() / remembered.FILE).write_bytes(content)
    assert remembered.room_left("CPU", FREE, TOTAL) == float("inf")
    remembered.remember("CPU", GB, FREE, TOTAL)
    next_session()
    assert remembered.room_left("CPU", FREE, TOTAL) == GB


def test_where_nothing_can_be_written_this_session_remembers(tmp_path, monkeypatch, next_session):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAPARI_UNETPP_CACHE", str(tmp_path / "file" / "cache"))
    remembered.remember("CPU", GB, FREE, TOTAL)
    assert remembered.room_left("CPU", FREE, TOTAL) == GB
    next_session()
    assert remembered.room_left("CPU", FREE, TOTAL) == float("inf")
