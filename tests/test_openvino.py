"""The engine in int8: a part of the tests needs the packages of the extra `openvino`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from napari.utils.notifications import notification_manager
from numpy.typing import NDArray
from typer.testing import CliRunner

from napari_unetpp.cli import app
from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.how_deep import how_deep
from napari_unetpp.files import read_image
from napari_unetpp.inference import quantised
from napari_unetpp.inference.devices import choose_device, torch_device
from napari_unetpp.inference.events import TileEvent
from napari_unetpp.inference.layout import Layout
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment, segment_tiles
from napari_unetpp.inference.quantised import (
    QuantisingError,
    is_quantised,
    patches_of,
)
from napari_unetpp.inference.reading import Reader
from napari_unetpp.models import load_model
from napari_unetpp.models.spec import Normalisation

INT8 = SegmentOptions(device="openvino", floats=True)
TORCH = SegmentOptions(device="cpu", floats=True)
NUCLEI = Path(__file__).parents[1] / "sample_data" / "nuclei.tif"
PLANE = (150, 206)
ALIKE = 0.97
"""Share of pixels whose labels are the same; and the correlation of probabilities."""


def blobs(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth, as the answers of a network that wasn't trained are then, too."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).random(shape)
    values = gaussian_filter(noise, [3 * (n > 4) for n in shape])
    scaled = (values - values.min()) / np.ptp(values)
    return (255 * scaled).astype(np.uint8)


@pytest.fixture
def needed() -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages aren't there, whether or not they are."""
    monkeypatch.setattr("napari_unetpp.inference.openvino_packages.find_spec", lambda name: None)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages seem to be there."""
    monkeypatch.setattr("napari_unetpp.inference.openvino_packages.find_spec", lambda name: name)
    monkeypatch.setattr(quantised, "versions", lambda: "1.0-2.0")


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Processes that wait for the end of their input: they stand for NNCF that is at work."""
    started: list[Any] = []
    original = subprocess.Popen

    def start(command: list[str], **kwargs: Any) -> Any:
        waits = [command[0], "-c", "import sys; sys.stdin.read()"]
        started.append(original(waits, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return started


def alike(one: Any, other: Any) -> list[float]:
    """Correlation of the probabilities of each head: those of an untrained network hardly vary."""
    pairs = zip(one.values, other.values, strict=True)
    return [float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs]


def patches(image: NDArray[Any], stride: int = 8) -> NDArray[np.float32]:
    layout = Layout.of(image, None, dims=2)
    reader = Reader(image, layout, Normalisation(), in_channels=1)
    return patches_of(reader, list(layout.indices()), layout.spatial_shape, stride)


@pytest.mark.usefixtures("missing")
def test_without_the_packages_the_sentence_names_the_extra():
    with pytest.raises(UserError, match=r'pip install "napari-unetpp\[openvino\]"'):
        choose_device("openvino")


@pytest.mark.usefixtures("missing", "tiny_store")
def test_without_the_packages_the_command_line_ends_with_2(tmp_path):
    tifffile.imwrite(tmp_path / "cell.tif", blobs(48, 64))
    arguments = ["segment", str(tmp_path / "cell.tif"), "--model", "tiny", "--device", "openvino"]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out")])
    assert isinstance(result.exception, UserError | SystemExit)
    assert "napari-unetpp[openvino]" in str(result.exception) + result.output


def test_auto_never_takes_it():
    assert choose_device("auto").engine == "torch"


@pytest.mark.usefixtures("missing")
def test_what_openvino_cannot_do_is_done_in_torch_and_says_so():
    device, usual = torch_device("openvino"), choose_device("auto")
    assert (device.kind, device.label) == (usual.kind, usual.label)
    assert "OpenVINO can't do this" in device.reason


@pytest.mark.parametrize("side", [30, 256, 700])
def test_patches_are_multiples_of_the_stride_and_always_the_same(side):
    image = blobs(side, side + 11)
    found = patches(image)
    assert len(found) == 16
    assert found.shape[1] == 1
    assert all(n % 8 == 0 and n <= 256 for n in found.shape[2:])
    np.testing.assert_array_equal(found, patches(image))


def test_patches_come_from_several_planes():
    stack = np.stack([np.full((40, 50), 0, np.uint8), blobs(40, 50)])
    layout = Layout.of(stack, "ZYX", dims=2)
    reader = Reader(stack, layout, Normalisation(), in_channels=1)
    found = patches_of(reader, list(layout.indices()), layout.spatial_shape, 8)
    spread = np.ptp(found, axis=(1, 2, 3))
    assert (spread == 0).any()
    assert (spread > 0).any()


def test_an_empty_image_calibrates_nothing():
    with pytest.raises(QuantisingError, match="nothing to be seen"):
        patches(np.zeros((40, 50), np.uint8))


@pytest.mark.usefixtures("played")
def test_what_fails_while_quantising_is_said_and_torch_goes_on(tiny_model, monkeypatch):
    """A process that ends at once stands for NNCF that fails."""
    monkeypatch.setattr(quantised, "MODULE", "napari_unetpp.no_such_module")
    image, events = blobs(*PLANE), []
    found = segment(image, tiny_model, options=INT8, progress=events.append)
    np.testing.assert_array_equal(found.values, segment(image, tiny_model, options=TORCH).values)
    notices = [event.notice for event in events if event.notice]
    assert len(notices) == 1
    assert "OpenVINO can't be used" in notices[0]
    assert "no_such_module" in notices[0]
    assert events[-1].device == choose_device("cpu")
    assert not is_quantised(tiny_model)


@pytest.mark.usefixtures("played")
def test_what_fails_in_the_graph_is_said_and_torch_goes_on(tiny_model, monkeypatch):
    """Where the packages aren't there, OpenVINO can't even be imported."""
    file = quantised.graph_file(tiny_model)
    file.parent.mkdir(parents=True)
    file.write_text("no graph")

    def fail(*args: Any) -> Any:
        raise RuntimeError("it can't be read")

    monkeypatch.setattr("napari_unetpp.inference.int8._compiled", fail)
    image, events = blobs(*PLANE), []
    found = segment(image, tiny_model, options=INT8, progress=events.append)
    np.testing.assert_array_equal(found.values, segment(image, tiny_model, options=TORCH).values)
    assert [event.notice for event in events if event.notice] == [
        "OpenVINO can't be used (it can't be read): it goes on in torch."
    ]
    assert not file.exists(), "a damaged graph is made anew the next time"


@pytest.mark.usefixtures("played")
def test_a_bug_elsewhere_is_not_taken_for_openvinos(tiny_model, monkeypatch):
    file = quantised.graph_file(tiny_model)
    file.parent.mkdir(parents=True)
    file.write_text("a graph")

    def played(_: Any, x: torch.Tensor, depth: int | None = None) -> Any:
        yield torch.zeros(x.shape)

    def fail(*args: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr("napari_unetpp.inference.int8.Int8Network.heads", played)
    monkeypatch.setattr("napari_unetpp.inference.engine.blend", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        segment(blobs(*PLANE), tiny_model, options=INT8)
    assert file.exists()


@pytest.mark.usefixtures("played")
def test_a_run_that_is_ended_ends_the_process(tiny_model, waiting):
    _, events = segment_tiles(blobs(*PLANE), tiny_model, options=INT8)
    first = next(events)
    assert (first.head, first.fraction, first.is_left_out) == (0, 0.0, False)
    assert first.preparing.startswith("Preparing int8 for tiny, once")
    assert waiting[0].poll() is None
    events.close()
    assert waiting[0].poll() is not None


@pytest.mark.usefixtures("played")
def test_only_the_graphs_used_last_are_kept(tiny_model, tmp_path):
    """Those of other models, as fine-tuning makes one after the other."""
    made = tmp_path / "made"
    made.mkdir()
    for name in ("graph.xml", "graph.bin"):
        (made / name).write_bytes(b"graph")
    models = [replace(tiny_model, digest=f"{n:064d}") for n in range(quantised.KEPT + 1)]
    for model in models[:-1]:
        quantised._keep(made, quantised.graph_file(model).parent)
    assert is_quantised(models[0])  # used, so it stays
    quantised._keep(made, quantised.graph_file(models[-1]).parent)
    assert [is_quantised(model) for model in models] == [True, False] + [True] * (len(models) - 2)
    quantised._keep(made, quantised.graph_file(models[-1]).parent)  # another process was faster
    assert is_quantised(models[-1])


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for the tests that need a graph: to make one takes seconds."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def kept(graphs: Path, monkeypatch: pytest.MonkeyPatch, needed: None) -> None:
    monkeypatch.setenv("NAPARI_UNETPP_CACHE", str(graphs))


@pytest.mark.usefixtures("kept")
def test_int8_gives_nearly_the_probabilities_of_torch(tiny_model):
    image, events = blobs(128, 192, seed=1), []
    found = segment(image, tiny_model, options=INT8, progress=events.append)
    assert min(alike(found, segment(image, tiny_model, options=TORCH))) >= ALIKE
    assert {event.device.label for event in events} == {"CPU, int8 (OpenVINO)"}
    assert [event.head for event in events if event.head] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.usefixtures("kept")
def test_int8_gives_the_masks_of_torch_in_any_size():
    """Of a trained network, which makes masks."""
    model = load_model("nuclei")
    for parts in (np.s_[:203, :150], np.s_[250:283, 90:205]):
        image = read_image(NUCLEI).data[parts]
        found, wanted = (segment(image, model, options=each) for each in (INT8, TORCH))
        assert found.values.shape == wanted.values.shape
        same = (found.masks() == wanted.masks()).mean(axis=(1, 2))
        assert min(same) >= ALIKE
        assert all(0.02 < mask.mean() < 0.98 for mask in wanted.masks())


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_depths_are_as_far_as_asked(tiny_model, depth):
    image = blobs(*PLANE)
    whole = segment(image, tiny_model, options=INT8)
    found = segment(image, tiny_model, options=replace(INT8, depth=depth))
    assert len(found.values) == depth
    np.testing.assert_allclose(found.values, whole.values[:depth], atol=0.01)


@pytest.mark.usefixtures("kept")
def test_the_second_run_does_not_quantise_again(tiny_model, make_model, monkeypatch):
    segment(blobs(*PLANE), tiny_model, options=INT8)
    assert is_quantised(tiny_model)
    assert not is_quantised(make_model(description="another one"))
    monkeypatch.setattr(quantised, "MODULE", "napari_unetpp.no_such_module")
    events: list[TileEvent] = []
    segment(blobs(90, 70), tiny_model, options=INT8, progress=events.append)
    assert not any(event.preparing or event.notice for event in events)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"in_channels": 3, "classes": ("a", "b")}, (3, 64, 88)),
        ({"supervised": (2, 3)}, (64, 88)),
        ({"dims": 3}, (24, 40, 48)),
    ],
    ids=["channels and classes", "two heads", "volume"],
)
def test_other_networks_give_nearly_the_probabilities_of_torch(make_model, fields, shape):
    model, image = make_model(**fields), blobs(*shape)
    events: list[TileEvent] = []
    axes = "CYX" if "in_channels" in fields else "ZYX"[-len(shape) :]
    found = segment(image, model, axes=axes, options=INT8, progress=events.append)
    assert min(alike(found, segment(image, model, axes=axes, options=TORCH))) >= ALIKE
    assert {event.device.engine for event in events} == {"openvino"}
    assert not any(event.notice for event in events)


@pytest.mark.usefixtures("kept")
def test_how_deep_measures_what_segments(tiny_model):
    found = how_deep(blobs(*PLANE), tiny_model, options=SegmentOptions(device="openvino"))
    assert found.device == "CPU, int8 (OpenVINO)"
    assert all(row.cost.milliseconds_per_megapixel > 0 for row in found.rows)


@pytest.fixture
def dock(make_napari_viewer: Callable[..., Any], tiny_store: Any) -> Any:
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-unetpp", "UNet++")
    panel = dock.segment_panel
    panel.model_box.names.setCurrentText("tiny")
    viewer.add_image(blobs(*PLANE))
    panel.device_box.setCurrentText("openvino")
    return dock


@pytest.mark.usefixtures("missing")
def test_without_the_packages_the_dock_starts_no_run(dock):
    dock.segment_panel.button.click()
    assert not dock.running
    said = str(notification_manager.records[-1].message)
    assert 'pip install "napari-unetpp[openvino]"' in said


@pytest.mark.usefixtures("played")
def test_the_dock_says_that_int8_is_prepared_and_cancel_ends_it(dock, qtbot, waiting):
    panel = dock.segment_panel
    panel.button.click()
    qtbot.waitUntil(lambda: "Preparing int8 for tiny, once" in panel.message.text(), timeout=20_000)
    qtbot.waitUntil(lambda: "once … 1 s · CPU, int8" in panel.message.text(), timeout=10_000)
    panel.button.click()
    qtbot.waitUntil(lambda: not dock.running, timeout=10_000)
    qtbot.waitUntil(lambda: waiting[0].poll() is not None, timeout=2000)
    assert panel.button.text() == "Segment"
    assert "left out" not in panel.message.text()


@pytest.mark.usefixtures("played")
def test_the_dock_goes_on_in_torch_and_says_why(dock, qtbot, monkeypatch):
    monkeypatch.setattr(quantised, "MODULE", "napari_unetpp.no_such_module")
    dock.segment_panel.button.click()
    qtbot.waitUntil(lambda: not dock.running, timeout=20_000)
    assert "it goes on in torch" in str(notification_manager.records[-1].message)
    assert dock.segment_panel.message.text().startswith("Done")
    assert choose_device("cpu").label in dock.segment_panel.message.text()
