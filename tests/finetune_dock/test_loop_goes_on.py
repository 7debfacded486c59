"""Fine-tune, then go on with the next plane or image."""

from __future__ import annotations

import numpy as np
from hands import (
    SHAPE,
    finish,
    press_only,
    settle,
    stroke,
    wait_for_version,
)


def from_the_first_plane(qtbot, viewer, dock, segmented) -> None:
    """Correct the first of three planes, fine-tune, and go on."""
    dock.segment_panel.where_row.button("plane").click()
    layer = segmented((3, *SHAPE))
    viewer.dims.set_current_step(0, 0)
    dock.segment_panel.where_row.button("plane").click()
    stroke(layer, 0, 10, 12)
    dock.finetune_and_go_on()
    finish(qtbot, dock)


def test_the_loop_goes_on_to_the_next_plane(qtbot, viewer, dock, segmented, child):
    from_the_first_plane(qtbot, viewer, dock, segmented)
    wait_for_version(qtbot, dock)
    assert viewer.dims.current_step[0] == 1
    assert dock.results.computed.keys() == {(1,)}


def test_the_loop_goes_on_to_the_next_image(qtbot, viewer, dock, segmented, child):
    first = segmented()
    second = viewer.add_image(np.random.default_rng(1).integers(0, 4000, SHAPE), name="second")
    stroke(first, 10, 12)
    dock.finetune_and_go_on()
    finish(qtbot, dock)
    wait_for_version(qtbot, dock)
    assert dock.segment_panel.image is second


def test_the_loop_ends_with_the_last_plane_of_the_last_image(qtbot, viewer, dock, segmented, child):
    layer = segmented((2, *SHAPE))
    viewer.dims.set_current_step(0, 1)
    stroke(layer, 1, 10, 12)
    dock.finetune_and_go_on()
    finish(qtbot, dock)
    wait_for_version(qtbot, dock)
    assert dock.segment_panel.image.name == "cells"


def test_the_loop_goes_on_where_the_new_version_is_no_better(
    qtbot, viewer, dock, segmented, child, tiny_store
):
    child.end("not better")
    from_the_first_plane(qtbot, viewer, dock, segmented)
    settle(qtbot, dock)
    assert viewer.dims.current_step[0] == 1
    assert (1,) in dock.results.computed
    assert "tiny+1" not in tiny_store.names()


def test_a_run_of_the_old_version_ends_for_the_new_one(qtbot, viewer, dock, segmented, child):
    layer = segmented((60, *SHAPE))
    stroke(layer, 0, 10, 12)
    press_only(dock)
    dock.segment_panel.tile_box.setValue(256)  # other settings: all planes again
    dock.segment()
    finish(qtbot, dock)
    qtbot.waitUntil(
        lambda: dock.results is not None and dock.results.provenance["model"] == "tiny+1",
        timeout=30_000,
    )
    settle(qtbot, dock)
