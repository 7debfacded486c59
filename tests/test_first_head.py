"""What is shown of a run before, with and after its first head."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import dask.array as da
import pytest
from images import noise

from napari_unetpp.inference import engine
from napari_unetpp.widgets import memory, run
from napari_unetpp.widgets.memory import Release


@pytest.fixture
def gate(monkeypatch):
    """Lets the network go on, head by head."""
    steps = threading.Semaphore(0)
    compute = engine.probabilities

    def slowly(*arguments):
        for values in compute(*arguments):
            assert steps.acquire(timeout=60)
            yield values

    monkeypatch.setattr(engine, "probabilities", slowly)

    @contextmanager
    def opened():
        try:
            yield steps
        finally:
            steps.release(100)

    return opened


def names(viewer):
    return [layer.name for layer in viewer.layers]


def test_the_first_layer_is_made_while_its_head_is_computed_and_each_other_with_its_head(
    viewer, dock, qtbot, gate
):
    image = viewer.add_image(noise(70, 90), name="cells")
    viewer.layers.selection = {image}
    with gate() as steps:
        dock.segment_panel.button.click()
        qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
        assert names(viewer) == ["cells", "cells · L1"]
        assert not viewer.layers["cells · L1"].data.any()
        assert dock.results.available == []
        for number in (1, 2, 3):
            steps.release()
            key = f"L{number}"
            qtbot.waitUntil(lambda key=key: key in dock.results.available, timeout=20_000)
            assert names(viewer)[1:] == [f"cells · L{n}" for n in range(1, number + 1)]
    qtbot.waitUntil(lambda: not dock.running, timeout=20_000)
    assert viewer.layers.selection == {image}
    assert viewer.layers.selection.active is image


def test_cancelled_before_its_first_head_a_run_leaves_no_layer(viewer, dock, qtbot, gate):
    viewer.add_image(noise(70, 90), name="cells")
    with gate():
        dock.segment_panel.button.click()
        qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
        dock.segment_panel.button.click()
    qtbot.waitUntil(lambda: not dock.running, timeout=20_000)
    assert names(viewer) == ["cells"]


def test_what_is_painted_before_the_first_head_is_kept(viewer, dock, qtbot, gate):
    viewer.add_image(noise(70, 90), name="cells")
    with gate():
        dock.segment_panel.button.click()
        qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
        viewer.layers[1].paint((20, 30), 1)
        dock.segment_panel.button.click()
    qtbot.waitUntil(lambda: not dock.running, timeout=20_000)
    assert names(viewer) == ["cells", "cells · L1"]
    assert viewer.layers[1].data[20, 30] == 1


def test_the_second_head_waits_until_the_first_is_drawn(viewer, dock, qtbot, monkeypatch):
    monkeypatch.setattr(run, "SHOWN_WITHIN", 60)
    viewer.add_image(noise(70, 90), name="cells")
    drawn = {}
    dock.session.run_started.connect(
        lambda started: started.tile_done.connect(
            lambda event: drawn.setdefault(event.head, dock.results.layers["L1"].drawn)
        )
    )
    dock.segment_panel.button.click()
    qtbot.waitUntil(lambda: not dock.running, timeout=20_000)
    assert drawn[2] > 0


def test_only_what_a_view_needs_is_read_of_a_large_image(viewer, dock, segmented):
    read = []

    def at(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return noise(64, 64)

    full = da.map_blocks(at, chunks=((64,) * 20, (64,) * 22), dtype="uint16")
    coarse = [da.from_array(noise(640, 704), chunks=64)]
    image = viewer.add_image(
        [full, *coarse], multiscale=True, name="slide", contrast_limits=(0, 4000)
    )
    dock.segment_panel.where_row.value = "view"
    dock.segment_panel.full_size_box.setChecked(True)
    viewer.scene.camera.zoom = 8
    viewer.scene.camera.center = (640, 704)
    read.clear()
    segmented()
    assert dock.results.level == 0
    assert image.data[0] is full
    assert 0 < len(set(read)) < 440


def test_memory_is_given_back_when_no_run_followed(monkeypatch):
    given = threading.Event()
    monkeypatch.setattr(
        "napari_unetpp.inference.devices.release_memory", lambda device: given.set()
    )
    monkeypatch.setattr(memory, "KEPT_FOR", 0.2)
    device = type("Device", (), {"kind": "cpu"})
    release = Release()
    release.begin(device)
    release.put_off()
    assert not given.wait(0.5)
    release.begin(device)
    assert given.wait(10)


def test_memory_of_a_gpu_is_given_back_at_once(monkeypatch):
    given = []
    monkeypatch.setattr("napari_unetpp.inference.devices.release_memory", given.append)
    device = type("Device", (), {"kind": "cuda"})
    Release().begin(device)
    assert given == [device]
