"""One head for other programs: what they get is what napari-unetpp itself finds."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from typer.testing import CliRunner, Result

from napari_unetpp.cli import app
from napari_unetpp.errors import UserError
from napari_unetpp.export.check import compare
from napari_unetpp.export.graph import head_of, run
from napari_unetpp.export.intensities import Intensities, normalised, scaled
from napari_unetpp.export.options import ExportOptions, Format
from napari_unetpp.export.write import export_head
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment
from napari_unetpp.models import Normalisation, Store, load_model

DOCS = Path(__file__).parent.parent / "docs" / "export.md"


def picture(*shape: int) -> np.ndarray[Any, Any]:
    """Dim noise with bright rectangles, of 12 bits."""
    rng = np.random.default_rng(len(shape))  # of its own: the order of tests must not matter
    image = rng.normal(300, 40, shape)
    for _ in range(6):
        start = [int(rng.integers(0, max(1, n - 3))) for n in shape]
        image[tuple(slice(s, s + 3 + n // 8) for s, n in zip(start, shape, strict=True))] += 900
    return image.clip(0, 4095).astype(np.uint16)


def found_by_package(image: Any, model: Any, depth: int) -> np.ndarray[Any, Any]:
    """Probabilities ``(class, *spatial)`` of `image` ``(c, *spatial)``."""
    options = SegmentOptions(depth=depth, device="cpu", floats=True)
    axes = "C" + "ZYX"[1 - image.ndim :]
    heads = segment(image, model, axes=axes, options=options)
    return np.asarray(heads.values[depth - 1])


def command(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def written(folder: Path, model: Any, format: Format, **options: Any) -> bytes:
    path = folder / "head"
    export_head(model, path, ExportOptions(format=format, authors=("Ada",), **options))
    return path.read_bytes()


# --- intensities


@pytest.mark.parametrize("background", ["auto", "dark", "bright"])
@pytest.mark.parametrize("inverted", [False, True])
def test_the_graph_does_what_percentiles_leave_to_be_done(background, inverted):
    image = np.stack([picture(41, 57), picture(41, 57) // 3])
    image = 4095 - image if inverted else image
    how = Normalisation(background=background)

    found = run(Intensities(how, adapts=True), scaled(image, how))

    np.testing.assert_allclose(found, normalised(image, how), atol=1e-5)


def test_an_image_without_contrast_stays_empty():
    how = Normalisation()
    assert not run(Intensities(how, adapts=True), np.zeros((1, 9, 11), np.float32)).any()


# --- ONNX


@pytest.mark.parametrize(
    ("fields", "depth", "shapes"),
    [
        ({}, 3, [(1, 53, 70), (1, 64, 32), (1, 131, 87), (1, 8, 9)]),
        ({"in_channels": 2, "classes": ("a", "b"), "norm": None}, 1, [(2, 45, 31)]),
        ({"dims": 3}, 2, [(1, 13, 22, 37)]),
    ],
)
def test_onnx_gives_what_the_package_finds(tmp_path, make_model, fp32, fields, depth, shapes):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = make_model(**fields)

    session = onnxruntime.InferenceSession(written(tmp_path, model, "onnx", depth=depth))

    names = [tensor.name for tensor in (*session.get_inputs(), *session.get_outputs())]
    assert names == ["image", "probability"]
    for shape in shapes:
        image = picture(*shape)
        given = scaled(image, model.spec.normalisation)[None]
        (found,) = session.run(None, {"image": np.concatenate([given, given[..., ::-1]])})
        np.testing.assert_allclose(found[0], found_by_package(image, model, depth), atol=1e-3)


def test_a_bright_background_is_found_by_the_graph(tmp_path, tiny_model, fp32):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    image = 4095 - picture(1, 53, 70)

    session = onnxruntime.InferenceSession(written(tmp_path, tiny_model, "onnx", depth=2))

    given = scaled(image, tiny_model.spec.normalisation)[None]
    (found,) = session.run(None, {"image": given})
    np.testing.assert_allclose(found[0], found_by_package(image, tiny_model, 2), atol=1e-3)


def test_only_a_tiled_head_gives_a_tile_what_it_gives_the_whole(tiny_model):
    image = scaled(picture(1, 96, 80), tiny_model.spec.normalisation)
    part, inside = np.s_[:, 32:72, 16:64], np.s_[:, 8:-8, 8:-8]  # L1 sees 8 pixels

    def apart(*, tiled: bool) -> float:
        head = head_of(tiny_model, 1, tiled=tiled)
        whole, tile = run(head, image)[part], run(head, np.ascontiguousarray(image[part]))
        return float(np.abs(whole - tile)[inside].max())

    assert apart(tiled=True) < 1e-5
    assert apart(tiled=False) > 1e-3


def test_a_file_that_gives_something_else_is_refused(tiny_model):
    head = head_of(tiny_model, 1)

    with pytest.raises(UserError, match=r"differ by 0\.01"):
        compare(head, lambda image: run(head, image) + 0.01, picture(1, 40, 50), Normalisation())


# --- torch.export


def test_torch_export_takes_any_size_and_has_no_pickle(tmp_path, tiny_model, fp32):
    content = written(tmp_path, tiny_model, "torch-export", depth=2)

    head = torch.export.load(io.BytesIO(content)).module()

    for shape in ((1, 53, 70), (1, 64, 31)):
        image = picture(*shape)
        found = run(head, scaled(image, tiny_model.spec.normalisation))
        np.testing.assert_allclose(found, found_by_package(image, tiny_model, 2), atol=1e-3)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        for name in file.namelist():
            start = file.read(name)[:2]
            assert start not in (b"PK", b"\x80\x02", b"\x80\x04"), f"{name} is pickled"
        assert any(name.endswith("napari_unetpp.json") for name in file.namelist())


# --- bioimage.io


def by_its_description(package: zipfile.ZipFile, image: np.ndarray[Any, Any]) -> Any:
    """What a program gets that knows no more than rdf.yaml."""
    import onnxruntime

    rdf = yaml.safe_load(package.read("rdf.yaml"))
    scale, clip = (step["kwargs"] for step in rdf["inputs"][0]["preprocessing"])
    axes = tuple(range(1, 1 + len(scale["axes"])))
    percentiles = [scale["min_percentile"], scale["max_percentile"]]
    low, high = np.percentile(image, percentiles, axis=axes, keepdims=True)
    given = ((image - low) / (high - low + 1e-6)).clip(clip["min"], clip["max"])
    session = onnxruntime.InferenceSession(package.read(rdf["weights"]["onnx"]["source"]))
    return session.run(None, {"image": given.astype(np.float32)[None]})[0][0]


@pytest.mark.parametrize("fields", [{}, {"dims": 3, "voxel_size": (1, 0.5, 0.5)}])
def test_a_package_is_valid_and_gives_what_the_package_finds(tmp_path, make_model, fp32, fields):
    for name in ("onnxscript", "onnxruntime", "bioimageio.spec"):
        pytest.importorskip(name)
    model = make_model(licence="CC0-1.0", **fields)
    spatial = (53, 70) if model.spec.dims == 2 else (13, 30, 41)

    content = written(tmp_path, model, "bioimageio", depth=1)  # validated on the way

    with zipfile.ZipFile(io.BytesIO(content)) as package:
        image = picture(1, *spatial)
        found = by_its_description(package, image)
        np.testing.assert_allclose(found, found_by_package(image, model, 1), atol=1e-3)
        example, expected = (
            np.load(io.BytesIO(package.read(f"test_{end}.npy"))) for end in ("input", "output")
        )
        np.testing.assert_allclose(by_its_description(package, example[0]), expected[0], atol=1e-3)
        rdf = yaml.safe_load(package.read("rdf.yaml"))
        assert rdf["license"] == "CC0-1.0"
        assert rdf["authors"] == [{"name": "Ada"}]
        assert "IoU of\n1.000" in package.read("README.md").decode().replace("IoU of ", "IoU of\n")


def test_a_package_for_tiles_says_what_it_leaves_out(tmp_path, tiny_model):
    for name in ("onnxscript", "onnxruntime", "bioimageio.spec"):
        pytest.importorskip(name)

    content = written(tmp_path, tiny_model, "bioimageio", depth=2, tiled=True)

    with zipfile.ZipFile(io.BytesIO(content)) as package:
        output = yaml.safe_load(package.read("rdf.yaml"))["outputs"][0]
        assert [axis.get("halo") for axis in output["axes"]] == [None, None, 22, 22]
        assert "left out is that" in package.read("README.md").decode()


# --- the command


def test_the_command_says_what_it_wrote_and_how_it_compares(tmp_path, tiny_store: Store):
    result = command("tiny", "-o", tmp_path, "--depth", 2, "--format", "torch-export")

    assert result.exit_code == 0
    assert (tmp_path / "tiny_L2.pt2").is_file()
    assert "Run with torch on a sample" in result.stderr
    assert "IoU of 1.000" in result.stderr


def test_without_onnxruntime_it_says_that_it_did_not_run(tmp_path, tiny_store, monkeypatch):
    pytest.importorskip("onnxscript")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    result = command("tiny", "-o", tmp_path / "a.onnx", "--depth", 1)

    assert result.exit_code == 0
    assert "It was not run" in result.stderr
    assert "napari-unetpp[export]" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-o", "a.pt2", "--depth", 4), "the heads L1, L2, L3"),
        (("-o", "a.onnx", "--depth", 1), r"doesn't end in \.pt2"),
        (("-o", "there.pt2", "--depth", 1), "exists and is kept"),
        (("-o", "there.pt2/a.pt2", "--depth", 1), "can't be written"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, tiny_store, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    Path("there.pt2").write_text("kept")

    result = command("tiny", "--format", "torch-export", *arguments)

    assert result.exit_code == 2
    assert re.search(sentence, result.stderr)
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.glob("*.pt2")] == ["there.pt2"]
    assert Path("there.pt2").read_text() == "kept"


@pytest.mark.parametrize("format", ["onnx", "bioimageio"])
def test_a_missing_package_is_named_with_the_extra(tmp_path, tiny_store, monkeypatch, format):
    monkeypatch.setitem(sys.modules, "onnx", None)

    result = command("tiny", "-o", tmp_path, "--format", format)

    assert result.exit_code == 2
    assert 'pip install "napari-unetpp[export]"' in result.stderr


def test_a_package_of_ones_own_model_names_its_authors(tmp_path, tiny_store):
    for name in ("onnx", "onnxscript", "bioimageio.spec"):
        pytest.importorskip(name)

    result = command("tiny", "-o", tmp_path, "--format", "bioimageio")

    assert result.exit_code == 2
    assert "--author" in result.stderr


def test_the_code_in_the_documentation_runs(tmp_path, fp32):
    for name in ("onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    image = picture(83, 110)
    tifffile.imwrite(tmp_path / "cell.tif", image)
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert command("nuclei", "--depth", 1, "-o", tmp_path).exit_code == 0

    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)

    expected = found_by_package(image[None], load_model("nuclei"), 1)[0] >= 0.5
    found = tifffile.imread(tmp_path / "mask.tif") > 0
    assert np.mean(found != expected) < 1e-3
