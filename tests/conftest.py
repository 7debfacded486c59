"""Small things that many tests need: a tiny model, and a store that holds it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from hypothesis import settings

from napari_unetpp.models import ModelSpec, Store

# Networks as tiny as these gain nothing from a second thread, and lose much where others compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("house", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("house")

WIDTHS = (4, 6, 8, 8)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Something takes the main thread back to all cores: two processes would wait on each other."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Gives a saved, untrained model called "tiny", with the spec's fields as arguments."""
    import torch

    from napari_unetpp.models.file import build_network, save_model

    def make(**fields: Any) -> Any:
        spec = ModelSpec(**{"name": "tiny", "widths": WIDTHS, **fields})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_network(spec)
            for module in network.modules():
                if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
                    torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
                    torch.nn.init.uniform_(module.running_var, 0.7, 1.5)
        path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
        return save_model(network.eval().requires_grad_(False), spec, path)

    return make


@pytest.fixture(scope="session")
def tiny_model(make_model: Callable[..., Any]) -> Any:
    """A model of one grey channel with the heads L1 to L3."""
    return make_model()


@pytest.fixture
def tiny_store(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, tiny_model: Any) -> Store:
    """The user's store, in a folder of the test's own, with the model "tiny"."""
    from napari_unetpp.models.file import save_model

    monkeypatch.setenv("NAPARI_UNETPP_MODELS", str(tmp_path / "models"))
    save_model(tiny_model.network, tiny_model.spec, tmp_path / "models" / "tiny.safetensors")
    return Store()


@pytest.fixture
def fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU computes in 32 bits, whether or not it has bf16: for comparisons to the last bit."""
    monkeypatch.setattr("napari_unetpp.inference.devices._cpu_has_bf16", lambda: False)


@pytest.fixture(autouse=True)
def _no_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests tell what a CPU does, wherever they run; those of a GPU are marked."""
    if request.node.get_closest_marker("gpu") is None:
        import torch

        for gpu in (torch.cuda, torch.backends.mps):
            none = wraps(gpu.is_available)(lambda: False)  # torch's compiler looks at what it wraps
            monkeypatch.setattr(gpu, "is_available", none)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for other processes


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Neither tiles that fitted in another test nor results that others left on the disk."""
    monkeypatch.setattr("napari_unetpp.inference.remembered._HERE", {})
    monkeypatch.setenv("NAPARI_UNETPP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    """A window of napari, on screen."""
    return make_napari_viewer(show=True)


@pytest.fixture
def dock(viewer: Any, tiny_store: Store) -> Any:
    """The dock in that window, with the model "tiny" chosen."""
    from napari_unetpp.widgets import SegmentDock

    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock)
    dock.segment_panel.model_box.names.setCurrentText("tiny")
    return dock


@pytest.fixture
def segmented(dock: Any, qtbot: Any) -> Callable[[], Any]:
    """Press Segment, and wait until all is shown; gives the results."""

    def press() -> Any:
        dock.segment_panel.button.click()
        qtbot.waitUntil(lambda: not dock.running, timeout=60_000)
        qtbot.waitUntil(lambda: dock.results is None or dock.results.idle, timeout=20_000)
        return dock.results

    return press
