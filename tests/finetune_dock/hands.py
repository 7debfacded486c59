"""What a user does in the dock, and what there is to fine-tune on."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from napari_unetpp.widgets import SegmentDock

SHAPE = (48, 68)
LARGER = (150, 212)
"""Large enough for a part to be held out."""
PATIENCE = 90_000
"""Milliseconds to wait for a real child, on a machine that is busy."""


def settle(qtbot: Any, dock: SegmentDock) -> None:
    """Wait until no run is on and every layer shows what it should."""
    qtbot.waitUntil(
        lambda: not dock.running and (dock.results is None or dock.results.idle), timeout=30_000
    )


def deepest(dock: SegmentDock) -> Any:
    assert dock.results is not None
    return dock.results.layers["L3"].layer


def stroke(layer: Any, *place: int, size: int = 5) -> None:
    """Paint over what is there."""
    layer.brush_size = size
    layer.paint(place, 1 - min(int(layer.data[place]), 1))


def press(qtbot: Any, dock: SegmentDock, *, timeout: int = 30_000) -> None:
    """Fine-tune, and wait for the end."""
    press_only(dock)
    finish(qtbot, dock, timeout=timeout)


def press_only(dock: SegmentDock) -> None:
    button = dock.finetune_part.panel.button
    assert button.text() == "Fine-tune"
    button.click()


def finish(qtbot: Any, dock: SegmentDock, *, timeout: int = 30_000) -> None:
    qtbot.waitUntil(lambda: not dock.finetune_part.running, timeout=timeout)
    assert dock.finetune_part.panel.button.text() == "Fine-tune"


def wait_for_version(qtbot: Any, dock: SegmentDock, name: str = "tiny+1") -> None:
    """Wait until a version is chosen and the image is segmented with it."""
    qtbot.waitUntil(lambda: dock.segment_panel.model_box.name == name, timeout=30_000)
    qtbot.waitUntil(
        lambda: dock.results is not None and dock.results.provenance["model"] == name,
        timeout=30_000,
    )
    settle(qtbot, dock)


def pick(box: Any, layer: Any) -> None:
    """Choose a layer as a user does, who may take the one that is chosen already."""
    box.layer = layer
    box.activated.emit(box.currentIndex())


def gone(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    return False


def own_mask(shape: tuple[int, ...] = SHAPE) -> Any:
    labels = np.zeros(shape, np.uint8)
    labels[..., 10:20, 12:30] = 1
    return labels
