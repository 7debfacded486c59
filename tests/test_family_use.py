"""Networks of the family in use: saved, segmented with, trained, evaluated, fine-tuned."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr
from family_kinds import EACH, each
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from napari_unetpp.cli import app
from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.evaluate import evaluate
from napari_unetpp.inference.devices import Device
from napari_unetpp.inference.predict import SegmentOptions, segment, segment_region
from napari_unetpp.models import ModelSpec, load_model
from napari_unetpp.models.file import _digest, read_model, save_model
from napari_unetpp.models.header import DIGEST_KEY, SPEC_KEY
from napari_unetpp.network import Architecture
from napari_unetpp.training.corrections import Source, correct
from napari_unetpp.training.finetune import finetune
from napari_unetpp.training.messages import FinetuneTask
from napari_unetpp.training.options import FINETUNE_FIT, FinetuneOptions

SHAPE = (48, 68)
U_NET = Architecture(skip="plain")


def run(*arguments: object) -> Result:
    """What the command line gives; a bug's traceback fails the test."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def picture(*shape: int) -> np.ndarray:
    """Blurred noise, so that neighbouring pixels belong together as in a picture."""
    noise = np.random.default_rng(0).random((*shape[:-1], shape[-1] + 4)).cumsum(-1)
    return noise[..., 4:] - noise[..., :-4]


@pytest.fixture(scope="module")
def u_net(make_model: Any) -> Any:
    """A U-Net whose only head is L3."""
    return make_model(architecture=U_NET)


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    folders = tmp_path / "images", tmp_path / "labels"
    rng = np.random.default_rng(1)
    for folder in folders:
        folder.mkdir()
    for number in range(2):
        labels = np.zeros(SHAPE, np.uint8)
        labels[8 + number : 28, 10:40] = 1
        noise = rng.integers(0, 60, SHAPE)
        tifffile.imwrite(folders[0] / f"{number}.tif", (labels * 150 + noise).astype(np.uint8))
        tifffile.imwrite(folders[1] / f"{number}.tif", labels)
    return folders


# --- model files


@each
def test_a_model_file_says_which_network_it_holds(make_model, tmp_path, architecture):
    model = make_model(architecture=architecture)
    path = tmp_path / "model.safetensors"
    save_model(model.network, model.spec, path)
    loaded = read_model(path)
    assert loaded.spec.architecture == architecture == loaded.network.architecture
    x = torch.randn(1, 1, 13, 22)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(x), model.network(x), rtol=0, atol=0)


def test_a_file_of_the_first_format_is_a_unetpp(tmp_path, tiny_model):
    """As files were before there was a choice: without the fields, and with format 1."""
    path = tmp_path / "old.safetensors"
    save_model(tiny_model.network, tiny_model.spec, path)
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    spec = tiny_model.spec.model_copy(update={"format": 1})
    old = spec.model_dump_json(exclude={"architecture", "supervised"})
    save_file(tensors, path, {SPEC_KEY: old, DIGEST_KEY: _digest(old, tensors)})
    model = read_model(path)
    assert model.spec.architecture == Architecture()
    assert model.spec.heads == (1, 2, 3)
    assert save_model(model.network, model.spec, path).spec.format == 2


@pytest.mark.parametrize("name", ["nuclei", "nuclei3d"])
def test_shipped_models_are_what_they_were(name):
    model = load_model(name)
    assert model.spec.architecture == Architecture()
    assert model.spec.heads == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "wrong", [{"skip": "many"}, {"depth": 3}, {"up": "none"}, {"block": "grouped", "groups": 5}]
)
def test_a_description_that_cannot_be_is_refused(tmp_path, u_net, wrong):
    path = tmp_path / "forged.safetensors"
    save_model(u_net.network, u_net.spec, path)
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    spec = u_net.spec.model_dump(mode="json")
    spec["architecture"] |= wrong
    text = json.dumps(spec)
    save_file(tensors, path, {SPEC_KEY: text, DIGEST_KEY: _digest(text, tensors)})
    with pytest.raises(UserError, match="description inside"):
        read_model(path)


def test_heads_in_words():
    widths = (4, 4, 4, 4, 4)
    words = {
        heads: ModelSpec(name="a", widths=widths, supervised=heads).heads_in_words
        for heads in (None, (4,), (2, 3), (4, 1))
    }
    assert words == {None: "L1 to L4", (4,): "L4", (2, 3): "L2 to L3", (4, 1): "L1, L4"}


# --- segmenting


@pytest.mark.usefixtures("fp32")
@each
def test_tiles_make_no_difference(make_model, architecture):
    model = make_model(architecture=architecture)
    image = picture(190, 230)
    options = SegmentOptions(floats=True)
    whole = segment(image, model, options=options)
    tiled = segment(image, model, options=dataclasses.replace(options, tile=160))
    assert np.ptp(whole.values) > 0.05  # else this test would say nothing
    assert abs(whole.values - tiled.values).max() <= 0.02


def test_the_only_head_of_a_u_net_has_its_own_number(u_net):
    events = []
    image = picture(*SHAPE)
    heads = segment(image, u_net, progress=events.append)
    assert heads.numbers == (3,)
    assert heads.depth == 3
    assert heads.probabilities.shape == (1, *SHAPE)
    assert (heads.reached == 1).all()
    assert {event.head for event in events} == {3}
    assert events[-1].fraction == pytest.approx(1)
    np.testing.assert_array_equal(heads.ensemble(), heads.values[0])
    region = (slice(0, 20), slice(10, 50))
    part = segment_region(image, u_net, index=(), region=region)
    assert part.shape == (1, 1, 20, 40)


@pytest.mark.parametrize("depth", [1, 4])
def test_a_depth_that_a_u_net_does_not_have_is_refused(u_net, depth):
    with pytest.raises(UserError, match=f"depth is {depth}, but tiny has the head L3: take that"):
        segment(picture(*SHAPE), u_net, options=SegmentOptions(depth=depth))


def test_heads_between_can_be_left_out(make_model):
    model, image = make_model(supervised=(1, 3)), picture(*SHAPE)
    heads = segment(image, model)
    assert heads.numbers == (1, 3)
    assert (heads.reached == 2).all()
    first = segment(image, model, options=SegmentOptions(depth=1))
    np.testing.assert_array_equal(first.values, heads.values[:1])
    with pytest.raises(UserError, match="heads L1, L3: choose one of them"):
        segment(image, model, options=SegmentOptions(depth=2))


def test_volumes_are_segmented_by_a_u_net(make_model):
    model = make_model(dims=3, architecture=Architecture(skip="plain", up="unpooling"))
    heads = segment(picture(11, 24, 33), model)
    assert heads.probabilities.shape == (1, 11, 24, 33)
    assert heads.values.any()


# --- the command line

RESIDUAL = ("--block", "residual", "--down", "strided", "--up", "nearest")
SMALL = ("--widths", "4,6,8", "--patch", 32, "--batch", 2, "--device", "cpu", "--steps", 2)


@pytest.mark.parametrize(
    ("options", "kinds", "heads"),
    [
        (["--network", "u-net"], U_NET, (2,)),
        (
            [
                "--network",
                "unet+",
                *["--block", "residual", "--down", "strided", "--up", "nearest"],
            ],
            EACH[3],
            (1, 2),
        ),
        (["--network", "unet++", "--heads", "2"], Architecture(), (2,)),
        (["--skip", "aggregation", "--down", "l2", "--up", "sub-pixel"], EACH[4], (1, 2)),
        (["--block", "grouped", "--groups", 2, "--up", "unpooling"], EACH[5], (1, 2)),
        (["--down", "dilated"], EACH[6], (1, 2)),
    ],
)
def test_any_network_is_trained_and_used(data, tmp_path, options, kinds, heads):
    file, output = tmp_path / "model.safetensors", tmp_path / "masks"
    assert run("train", *data, "-o", file, *SMALL, *options).exit_code == 0

    model = load_model(str(file))
    assert model.spec.architecture == kinds
    assert model.spec.heads == heads
    result = run("segment", data[0], "-o", output, "--model", file, "--instances")
    assert result.exit_code == 0
    wanted = {f"{n}_{r}.tif" for n in (0, 1) for r in (*(f"L{k}" for k in heads), "instances")}
    assert {path.name for path in output.iterdir()} == wanted


REFUSED: dict[str, tuple[list[object], str]] = {
    "unpooling": (["--up", "unpooling", "--down", "average"], "max pooling took them from"),
    "dilated": (["--down", "dilated", "--up", "nearest"], "nothing for up 'nearest'"),
    "groups": (["--network", "wide-u-net", "--block", "grouped"], "be divided into 8 groups"),
    "groups of none": (["--groups", 4], "has no groups"),
    "heads of U-Net": (["--network", "u-net", "--heads", "1,2"], "just the last column"),
    "heads": (["--heads", "5"], "from 1 to the depth, 4"),
    "heads in words": (["--heads", "all"], "The heads 'all' can't be used"),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_a_network_that_cannot_be_is_refused_in_a_sentence(data, tmp_path, options, words):
    file = tmp_path / "model.safetensors"

    result = run("train", *data, "-o", file, *options)

    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert not file.exists()


def test_info_and_list_say_which_network(tmp_path, monkeypatch, make_model):
    model = make_model(architecture=Architecture(skip="plain", block="grouped", groups=2))
    monkeypatch.setenv("NAPARI_UNETPP_MODELS", str(tmp_path))
    save_model(model.network, model.spec, tmp_path / "tiny.safetensors")

    shown = " ".join(run("models", "info", "tiny").stdout.split())

    count = sum(p.numel() for p in model.network.parameters())
    for words in ("network U-Net", "skip plain", "block grouped, 2 groups", "heads L3"):
        assert words in shown
    assert f"L3 {count:,}" in shown
    assert any("L3" in row and "tiny" in row for row in run("models", "list").stdout.split("\n"))


def test_a_u_net_fills_ome_zarr_with_its_head(tmp_path, data, u_net):
    save_model(u_net.network, u_net.spec, tmp_path / "m.safetensors")
    output = tmp_path / "masks.zarr"

    result = run("segment", data[0] / "0.tif", "-o", output, "--model", tmp_path / "m.safetensors")

    assert result.exit_code == 0
    image = tifffile.imread(data[0] / "0.tif")
    found = zarr.open_array(output / "L3" / "0")[:]
    np.testing.assert_array_equal(found, segment(image, u_net).masks()[0])


def test_a_u_net_is_evaluated(data, u_net):
    pairs = [(data[0] / f"{n}.tif", data[1] / f"{n}.tif") for n in (0, 1)]

    result = evaluate(pairs, u_net, options=SegmentOptions(device="cpu"))

    (head,) = result.heads
    assert head.head == "L3"
    assert head.scores.images == 2
    assert head.cost.parameters == sum(p.numel() for p in u_net.network.parameters())


# --- fine-tuning


def tuned(model: Any, output: Path, **options: Any) -> list[Any]:
    """The events of a fine-tuning of two steps on a plane that is corrected all over."""
    image = (picture(120, 176) * 1000).astype(np.uint16)
    source = Source(image="a", shape=image.shape, layer="mask")
    labels = (image > np.median(image)).astype(np.uint8)
    correction = correct(image[None], labels, kind="classes", source=source)
    fit = dataclasses.replace(FINETUNE_FIT, patch=(32, 48), validations=1)
    how = FinetuneOptions(minutes=60, steps=2, fit=fit, **options)
    device = Device("cpu", torch.float32, "CPU, fp32", "for the tests.")
    return list(finetune(model, [correction], output=output, options=how, device=device))


@pytest.mark.parametrize("start", ["model", "nothing"])
def test_a_u_net_is_fine_tuned(tmp_path, u_net, start):
    output = tmp_path / "new.safetensors"

    events = tuned(u_net, output, start=start)

    assert set(events[0].scores["held out"]) == {"L3"}
    made = read_model(output)
    assert made.spec.architecture == U_NET
    assert made.spec.heads == (3,)


def test_from_nothing_another_network_can_be_made(tmp_path, tiny_model):
    output, kinds = tmp_path / "new.safetensors", Architecture(skip="plain", block="residual")

    events = tuned(tiny_model, output, start="nothing", architecture=kinds, widths=(4, 6, 8))

    assert set(events[0].scores["held out"]) == {"L1", "L2", "L3"}  # of the old one
    made = read_model(output)
    assert (made.spec.architecture, made.spec.heads) == (kinds, (2,))
    assert made.spec.parent_name == "tiny"
    assert set(made.spec.history[-1].scores["after"]["held out"]) == {"L2"}


def test_another_network_needs_other_weights(tmp_path, tiny_model):
    with pytest.raises(UserError, match="fit no other network than its own"):
        FinetuneOptions(architecture=U_NET)
    grouped = Architecture(block="grouped")
    with pytest.raises(UserError, match="can't be divided into 8 groups"):
        tuned(tiny_model, tmp_path / "new.safetensors", start="nothing", architecture=grouped)


def test_a_task_carries_the_network_as_json():
    task = FinetuneTask(
        model=Path("a"), corrections=(), output=Path("b"), start="nothing", architecture=U_NET
    )
    assert FinetuneTask.model_validate_json(task.model_dump_json()) == task
