"""What happens when napari is closed: in a process of its own, as that ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_unetpp.models import Store
from napari_unetpp.training.correction_folder import CorrectionFolder

SCRIPT = """
import time

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_unetpp.inference import on_disk
from napari_unetpp.widgets import label_planes, result_layer, run
from napari_unetpp.widgets.mask import Mask

corrected = Mask.corrected


def slowly_corrected(mask):
    time.sleep(1)
    return corrected(mask)


Mask.corrected = slowly_corrected

label_planes.QUICKLY_COMPARED = on_disk.KEPT_CHUNKS = result_layer.KEPT = 1
run.fits_in_memory = lambda needed: False
viewer = napari.Viewer()
viewer.add_image(np.random.default_rng(0).random((530, 560)).astype(np.float32), name="cells")
_, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
dock.segment_panel.model_box.names.setCurrentText("tiny")


def paint(complete):
    layer = dock.results.layers["L1"].layer
    layer.data[10, 12] = 1 - layer.data[10, 12]  # by a script: no event tells of this
    QTimer.singleShot(0, HOW)


dock.session.run_started.connect(lambda run: run.ended.connect(paint))
QTimer.singleShot(0, dock.segment_panel.button.click)
napari.run()
"""


@pytest.mark.parametrize("how", ["viewer.close", "QApplication.quit"])
def test_what_a_script_painted_in_a_large_layer_is_saved_when_napari_is_closed(
    tiny_store: Store, tiny_model, tmp_path: Path, how: str
):
    environment = {**os.environ, "NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    command = [sys.executable, "-c", SCRIPT.replace("HOW", how)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    folder = CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest))
    (correction,) = folder.load()[0]
    assert correction.source.image == "cells"
