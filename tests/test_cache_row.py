"""What results take on the disk is shown in the dock, and made room of with a button."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from images import noise

from napari_unetpp.inference import room
from napari_unetpp.widgets import run
from napari_unetpp.widgets.cache_row import CacheRow, in_words


@pytest.fixture
def row(dock, qtbot):
    """The row, on screen: Advanced is open."""
    dock.segment_panel.advanced_fold.open()
    row = dock.segment_panel.cache_row
    qtbot.waitUntil(row.isVisible)
    qtbot.waitUntil(lambda: row.label.text() != "…")
    return row


@pytest.fixture(autouse=True)
def _on_the_disk(monkeypatch):
    monkeypatch.setattr(run, "fits_in_memory", lambda needed: False)


def test_what_results_take_is_shown_and_kept_up_to_date(
    viewer, dock, row, segmented, qtbot, monkeypatch
):
    monkeypatch.setattr("napari_unetpp.widgets.cache_row.EVERY", 200)
    dock.segment_panel.advanced_fold.button.setChecked(False)
    dock.segment_panel.advanced_fold.open()
    assert row.label.text().startswith("0 B of ")
    viewer.add_image(noise(3, 80, 110))
    segmented()
    used = in_words(room.used_bytes())
    qtbot.waitUntil(lambda: row.label.text().split(" of ")[0] == used, timeout=20000)
    assert room.used_bytes() > 1000
    assert str(room.cache_folder()) in row.label.toolTip()


def test_the_button_removes_what_no_layer_shows(viewer, dock, row, segmented, qtbot):
    kept = viewer.add_image(noise(2, 80, 110), name="kept")
    segmented()
    pixels = np.asarray(viewer.layers["kept · L3"].data)
    closed = viewer.add_image(noise(2, 80, 110), name="closed")
    dock.segment_panel.image_box.layer = closed
    segmented()
    ended = [sys.executable, "-c", "import os; print(os.getpid())"]
    number = int(subprocess.run(ended, capture_output=True, check=True).stdout)
    left = room.cache_folder() / f"{room.prefix_of(number)}abc"
    left.mkdir()
    for layer in [layer for layer in viewer.layers if layer.name.startswith("closed ·")]:
        viewer.layers.remove(layer)
    heads = dock.results.heads  # they could be shown again
    stores = [array.folder for array in (heads.values, heads.reached)]
    assert all(store.exists() for store in stores)
    row.button.click()
    qtbot.waitUntil(lambda: row.button.isEnabled())
    assert dock.results is None
    assert not left.exists()
    assert not any(store.exists() for store in stores)
    dock.segment_panel.image_box.layer = kept
    np.testing.assert_array_equal(viewer.layers["kept · L3"].data, pixels)
    assert dock.results is not None


def test_a_run_is_refused_where_results_fill_their_share(
    viewer, dock, segmented, monkeypatch, qtbot
):
    told = []
    monkeypatch.setattr("napari_unetpp.widgets.dock.show_error", told.append)
    monkeypatch.setenv(room.MOST, "0")
    viewer.add_image(noise(80, 110))
    segmented()
    assert dock.results is None
    assert "0.0 GB are allowed: close layers" in told[0]


def test_a_bound_that_is_none_is_told_in_the_tooltip(dock, row, monkeypatch, qtbot):
    monkeypatch.setenv(room.MOST, "much")
    row.refresh()
    qtbot.waitUntil(lambda: row.label.text() == "unknown")
    assert "give a number of GB" in row.label.toolTip()


def test_bytes_in_words():
    counts = (0, 999, 1000, 1_234_567, 999_600_000, 1.24e9, 310.4e9)
    words = ["0 B", "999 B", "1 kB", "1 MB", "1.0 GB", "1.2 GB", "310 GB"]
    assert [in_words(count) for count in counts] == words


def test_stores_of_other_processes_that_live_are_kept(dock, row, qtbot):
    other = room.cache_folder() / f"{room.prefix_of(os.getppid())}abc"
    other.mkdir(parents=True)
    row.button.click()
    qtbot.waitUntil(lambda: row.button.isEnabled())
    assert other.exists()


def test_the_row_may_be_deleted_while_it_looks(qtbot, monkeypatch):
    looked = []

    def slow():
        time.sleep(0.2)
        looked.append(True)
        return room.Use(0, 1.0)

    monkeypatch.setattr("napari_unetpp.widgets.cache_row.use_of_disk", slow)
    row = CacheRow()
    row.show()
    row.close()
    row.deleteLater()
    qtbot.waitUntil(lambda: bool(looked), timeout=5000)
    qtbot.wait(100)
