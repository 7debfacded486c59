"""The dock in a window, with a stand-in for the child process.

Where it doesn't matter what is learnt, it answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hands import (
    SHAPE,
    deepest,
    settle,
)
from napari.utils.notifications import NotificationSeverity, notification_manager
from stand_in import STAND_IN, Child

from napari_unetpp.models import Store
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.training.corrections import Correction
from napari_unetpp.widgets import SegmentDock


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Any) -> Child:
    """No process trains: one ends with a better model at once, or as the test says."""
    folder = tmp_path / "child"
    folder.mkdir()
    (folder / "stand_in_child.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr("napari_unetpp.widgets.trainer.MODULE", "stand_in_child")
    return Child(folder, tiny_model)


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer()


@pytest.fixture
def open_dock(
    viewer: Any, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], SegmentDock]:
    monkeypatch.setattr("napari_unetpp.widgets.keeper.AUTOSAVE", 50)

    def make() -> SegmentDock:
        _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
        dock.segment_panel.model_box.names.setCurrentText("tiny")
        return dock

    return make


@pytest.fixture
def dock(open_dock: Callable[[], SegmentDock]) -> SegmentDock:
    return open_dock()


@pytest.fixture
def segmented(qtbot: Any, viewer: Any, dock: SegmentDock) -> Callable[..., Any]:
    """Add an image of noise, press Segment, and give the layer of the deepest head."""

    def segment(shape: tuple[int, ...] = SHAPE, seed: int = 0, **fields: Any) -> Any:
        pixels = np.random.default_rng(seed).integers(0, 4000, shape, np.uint16)
        dock.segment_panel.image_box.layer = viewer.add_image(
            fields.pop("data", pixels), **{"name": "cells", **fields}
        )
        dock.segment_panel.button.click()
        settle(qtbot, dock)
        return deepest(dock)

    return segment


@pytest.fixture
def saved(dock: SegmentDock, tiny_store: Store, tiny_model: Any) -> Callable[[], list[Correction]]:
    """The corrections on the disk."""
    folder = CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest))
    return lambda: sorted(folder.load()[0], key=lambda c: (c.source.image, c.source.index))


@pytest.fixture
def errors() -> Callable[[], list[str]]:
    """The sentences that the user was told in this test."""
    start = len(notification_manager.records)

    def told() -> list[str]:
        new = notification_manager.records[start:]
        return [str(n.message) for n in new if n.severity == NotificationSeverity.ERROR]

    return told
