"""napari's drawing and torch's compiler may each bring an LLVM, of which one ends the process."""

import os
import subprocess
import sys

import pytest

from napari_unetpp.models.file import save_model

OPEN = """
import ctypes, platform, sys
from napari.viewer import Viewer

viewer = Viewer()
viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
seen = platform.system() == "Linux" and hasattr(ctypes.CDLL(None), "LLVMContextCreate")
try:
    import triton
except ImportError:
    assert seen and sys.argv[1] == "3.7.0", "triton is kept out where nothing is against it"
else:
    assert not seen or sys.argv[1] == "3.6.1", "triton is imported beside the LLVM that draws"
viewer.close()
"""

SEGMENT = """
import sys
from pathlib import Path
import numpy as np
from napari_unetpp.inference.predict import segment
from napari_unetpp.models.file import read_model

segment(np.ones((70, 90), np.float32), read_model(Path(sys.argv[1])))
assert "torch" in sys.modules
assert "torch._dynamo" not in sys.modules
"""


def python(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("qapp")  # which sees to a display
@pytest.mark.parametrize("version", ["3.6.1", "3.7.0"])
def test_triton_is_kept_out_where_it_would_end_napari(tmp_path, version):
    (tmp_path / "triton.py").touch()
    installed = tmp_path / f"triton-{version}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: triton\nVersion: {version}\n"
    )
    settings = tmp_path / "settings.yaml"
    python(OPEN, version, PYTHONPATH=str(tmp_path), NAPARI_CONFIG=str(settings))


def test_segmenting_needs_nothing_of_the_compiler(tiny_model, tmp_path):
    """It takes a second to import, at each start, and imports triton where that is."""
    path = tmp_path / "model.safetensors"
    save_model(tiny_model.network, tiny_model.spec, path)
    python(SEGMENT, path)
