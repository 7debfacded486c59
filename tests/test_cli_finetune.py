"""`finetune` on the command line: kept if better, with exit codes that tell."""

from __future__ import annotations

import inspect
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from napari_unetpp.cli import app
from napari_unetpp.cli.finetune import finetune
from napari_unetpp.models import Store
from napari_unetpp.models.file import read_model, save_model
from napari_unetpp.training import finetuning as library
from napari_unetpp.training import referee
from napari_unetpp.training.augment import Augmentation
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.training.options import FinetuneOptions, FitOptions

SHAPE = (112, 168)


def run(*arguments: object) -> Result:
    """What the command line gives; a bug's traceback fails the test."""
    result = CliRunner().invoke(app, ["finetune", *(str(argument) for argument in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def said(result: Result) -> str:
    return " ".join(result.stderr.split())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small patches, and steps so large that a few will do."""
    fit = FitOptions(
        patch=(48, 64),
        batch=4,
        learning_rate=1e-2,
        warm_up=2,
        averaging=0.9,
        validations=2,
        augmentation=Augmentation(scale=1.0),
    )
    monkeypatch.setattr("napari_unetpp.training.options.FINETUNE_FIT", fit)


def scene(seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Bright, noisy discs, and which pixels they cover."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = np.zeros(SHAPE, bool)
    for _ in range(18):
        away = np.hypot(y - rng.integers(SHAPE[0]), x - rng.integers(SHAPE[1]))
        mask |= away < rng.integers(6, 12)
    image = 800.0 + 2000 * mask + 300 * rng.standard_normal(SHAPE)
    return np.clip(image, 0, 65535).astype(np.uint16), mask


def write(folder: Path, **images: np.ndarray[Any, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, pixels in images.items():
        tifffile.imwrite(folder / f"{name}.tif", pixels, photometric="minisblack")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> list[Path]:
    """Two images with labels."""
    scenes = {name: scene(n) for n, name in enumerate("ab")}
    return [
        write(tmp_path / "images", **{name: image for name, (image, _) in scenes.items()}),
        write(tmp_path / "labels", **{n: mask.astype(np.uint8) for n, (_, mask) in scenes.items()}),
    ]


def own(store: Store) -> set[str]:
    """The user's models; nothing else may be left in their folder."""
    names = {path.name for path in store.folder.iterdir() if path.name != "corrections"}
    assert all(not name.startswith(".") for name in names)
    return {name.removesuffix(".safetensors") for name in names}


def corrections(store: Store) -> CorrectionFolder:
    return CorrectionFolder(store.corrections_folder(store.load("tiny").digest))


LONG = ("--device", "cpu", "--minutes", 60)
ENOUGH, NOTHING = (*LONG, "--steps", 20), (*LONG, "--steps", 1)


def test_a_better_version_is_kept(data: list[Path], tiny_store: Store) -> None:
    parent = tiny_store.path("tiny").read_bytes()

    result = run("tiny", *data, *ENOUGH)

    assert result.exit_code == 0
    assert own(tiny_store) == {"tiny", "tiny+1"}
    assert tiny_store.path("tiny").read_bytes() == parent
    spec = tiny_store.spec("tiny+1")
    assert spec.parent_name == "tiny"
    assert "Better: IoU on held-out corrections" in said(result)
    assert "'tiny+1'" in said(result)
    assert "CPU" in said(result)
    for head, iou in spec.history[-1].scores["after"]["held out"].items():
        assert head in result.stdout
        assert f"→ {iou:.2f}" in result.stdout
    kept, problems = corrections(tiny_store).load()
    assert not problems
    assert {c.source.image for c in kept} == {"a", "b"}
    for correction in kept:
        _, mask = scene("ab".index(correction.source.image))
        np.testing.assert_array_equal(correction.classes, mask)
        assert correction.known.all()
        assert 0 < correction.wrong.mean() < 1  # compared with what the model finds


def test_what_was_learnt_before_is_replayed(
    data: list[Path], tmp_path: Path, tiny_store: Store
) -> None:
    assert run("tiny", *data, *ENOUGH).exit_code == 0
    image, mask = scene(2)
    more = (
        write(tmp_path / "more", c=image, a=scene(0)[0]),
        write(tmp_path / "masks", c=mask.astype(np.uint8), a=scene(0)[1].astype(np.uint8)),
    )

    result = run("tiny+1", *more, *NOTHING, "--keep-anyway")

    assert "Learning from 2 planes, and 1 plane of before." in said(result)
    assert "earlier" in result.stdout
    assert tiny_store.spec("tiny+2").parent_name == "tiny+1"
    assert len(corrections(tiny_store).load()[0]) == 3


def test_the_new_model_can_have_a_name(data: list[Path], tiny_store: Store) -> None:
    assert run("tiny", *data, *ENOUGH, "--name", "discs").exit_code == 0
    assert own(tiny_store) == {"tiny", "discs"}
    assert tiny_store.load("discs").spec.name == "discs"


@pytest.mark.parametrize(("name", "words"), [("Tiny", "already"), ("../x", "can't be the name")])
def test_a_name_that_cannot_be_is_refused_before_the_work(
    tmp_path: Path, tiny_store: Store, name: str, words: str
) -> None:
    result = run("tiny", tmp_path / "gone", tmp_path / "gone", "--name", name)
    assert result.exit_code == 2
    assert words in said(result)


def test_a_model_that_is_not_better_is_not_kept(data: list[Path], tiny_store: Store) -> None:
    unrelated = np.random.default_rng(0).random(SHAPE) < 0.5
    write(data[1], a=unrelated.astype(np.uint8), b=unrelated.astype(np.uint8))

    result = run("tiny", *data, *NOTHING)

    assert result.exit_code == 3
    assert own(tiny_store) == {"tiny"}
    assert not list(tiny_store.folder.glob("corrections/*/*"))
    assert "Nothing is kept" in said(result)

    insisting = run("tiny", *data, *NOTHING, "--keep-anyway")
    assert insisting.exit_code == 0
    assert "Not better" in said(insisting)
    assert own(tiny_store) == {"tiny", "tiny+1"}


def test_a_better_version_is_kept_though_nobody_reads_of_it(
    data: list[Path], tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*arguments: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("napari_unetpp.cli.finetune.results.print", closed)
    CliRunner().invoke(app, ["finetune", "tiny", *map(str, data), *map(str, ENOUGH)])
    assert own(tiny_store) == {"tiny", "tiny+1"}
    assert len(corrections(tiny_store).load()[0]) == 2


def test_too_little_to_tell_keeps_nothing(tmp_path: Path, tiny_store: Store) -> None:
    image, mask = scene(0)
    small = (
        write(tmp_path / "i", a=image[:50, :60]),
        write(tmp_path / "l", a=mask[:50, :60].astype(np.uint8)),
    )

    result = run("tiny", *small, *NOTHING)

    assert result.exit_code == 3
    assert "Too little was corrected" in said(result)
    assert own(tiny_store) == {"tiny"}
    assert run("tiny", *small, *NOTHING, "--keep-anyway").exit_code == 0


def test_two_files_will_do_and_a_model_file_too(tmp_path: Path, tiny_store: Store) -> None:
    image, mask = scene(0)
    write(tmp_path, cells=image, painted=255 * mask.astype(np.uint8))  # one object, that is
    model = tiny_store.folder.parent / "given.safetensors"
    tiny_store.export("tiny", model)
    tiny_store.remove("tiny")

    result = run(model, tmp_path / "cells.tif", tmp_path / "painted.tif", *ENOUGH)

    assert result.exit_code == 0
    assert tiny_store.spec("tiny+1").classes == ("foreground",)
    folder = CorrectionFolder(tiny_store.corrections_folder(read_model(model).digest))
    (source,) = folder.sources().values()
    assert (source.image, source.shape, source.layer) == ("cells", SHAPE, "painted.tif")


def test_scribbles_are_trusted_where_they_are(tmp_path: Path, tiny_store: Store) -> None:
    stack, labels = np.stack([scene(n)[0] for n in range(3)]), np.zeros((3, *SHAPE), np.uint8)
    labels[1, ::6] = np.where(scene(1)[1], 2, 1)[::6]
    folders = write(tmp_path / "i", a=stack), write(tmp_path / "l", a=labels)

    result = run("tiny", *folders, *NOTHING, "--trust", "sparse", "--keep-anyway")

    assert result.exit_code == 0
    assert "Learning from 1 plane." in said(result)
    (correction,), _ = corrections(tiny_store).load()
    assert correction.source.index == (1,)
    assert correction.source.trust == "scribbles"
    np.testing.assert_array_equal(correction.known, labels[1] > 0)
    np.testing.assert_array_equal(correction.classes, labels[1] == 2)
    assert not (correction.wrong & ~correction.known).any()


@pytest.mark.parametrize(("kind", "classes"), [("auto", 1), ("instances", 1), ("classes", 9)])
def test_what_the_numbers_are_can_be_said(
    data: list[Path], tiny_store: Store, kind: str, classes: int
) -> None:
    _, mask = scene(1)
    write(data[1], b=mask * np.uint16(9))

    result = run("tiny", *data, *NOTHING, "--labels", kind, "--keep-anyway")

    assert result.exit_code == 0
    assert len(tiny_store.spec("tiny+1").classes) == classes


def test_depth_start_and_seed(data: list[Path], tiny_store: Store) -> None:
    options = (*NOTHING, "--depth", 2, "--from-scratch", "--seed", 7, "--keep-anyway")

    assert run("tiny", *data, *options).exit_code == 0

    spec = tiny_store.spec("tiny+1")
    assert spec.depth == 2
    settings = spec.history[-1].settings
    assert (settings["start"], settings["fit"]["seed"]) == ("nothing", 7)


def test_the_defaults_are_those_of_the_library() -> None:
    given = {name: p.default for name, p in inspect.signature(finetune).parameters.items()}
    wanted = FinetuneOptions()
    for name in ("minutes", "steps", "depth"):
        assert given[name] == getattr(wanted, name), name
    assert given["seed"] == wanted.fit.seed
    assert wanted.start == "model"


def test_interrupted_it_keeps_the_best_so_far(
    data: list[Path], tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = []

    def save_and_interrupt(*arguments: Any, **more: Any) -> Any:
        saves.append(save_model(*arguments, **more))
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(library, "save_model", save_and_interrupt)

    result = run("tiny", *data, *LONG, "--steps", 40, "--keep-anyway")

    assert result.exit_code == 0
    assert len(saves) == 1
    assert tiny_store.spec("tiny+1").history[-1].settings["trained_steps"] == 20


def test_interrupted_before_the_first_step_it_keeps_nothing(
    data: list[Path], tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(referee, "validate", interrupt)

    result = run("tiny", *data, *ENOUGH, "--keep-anyway")

    assert result.exit_code == 3
    assert "stopped before the first step" in said(result)
    assert own(tiny_store) == {"tiny"}


def float_labels(images: Path, labels: Path) -> None:
    write(labels, b=np.full(SHAPE, np.nan, np.float32))


def no_labels(images: Path, labels: Path) -> None:
    write(labels, a=np.zeros(SHAPE, np.uint8), b=np.zeros(SHAPE, np.uint8))


def other_shape(images: Path, labels: Path) -> None:
    write(labels, b=np.ones(SHAPE[::-1], np.uint8))


def no_number(images: Path, labels: Path) -> None:
    write(images, b=np.full(SHAPE, np.nan, np.float32))


def one_missing(images: Path, labels: Path) -> None:
    (labels / "b.tif").unlink()


def two_channels(images: Path, labels: Path) -> None:
    pixels = np.stack([scene(1)[0]] * 2)
    tifffile.imwrite(images / "b.tif", pixels, metadata={"axes": "CYX"}, photometric="minisblack")


BAD_DATA = {
    "float labels": (float_labels, "b.tif: The labels are numbers of type float32"),
    "no labels": (no_labels, "There are no labels in"),
    "other shape": (other_shape, "b.tif has shape (168, 112)"),
    "no number": (no_number, "b has no finite intensity"),
    "one missing": (one_missing, "1 of 2 images have no labels"),
    "two channels": (two_channels, "b.tif: The image has 2 channels"),
}


@pytest.mark.parametrize(("spoil", "words"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_is_told_in_a_sentence(
    data: list[Path], tiny_store: Store, spoil: Any, words: str
) -> None:
    spoil(*data)

    result = run("tiny", *data, *NOTHING)

    assert result.exit_code == 2
    assert words in said(result)
    assert len(result.stderr.splitlines()) == 1
    assert own(tiny_store) == {"tiny"}


BAD_USE: dict[str, tuple[list[object], str]] = {
    "depth": (["--depth", 4], "heads L1 to L3"),
    "steps": (["--steps", 0], "--steps"),
    "minutes": (["--minutes", 0], "--minutes"),
    "trust": (["--trust", "nobody"], "--trust"),
    "sparse instances": (["--trust", "sparse", "--labels", "instances"], "leave --labels away"),
}


@pytest.mark.parametrize(("options", "words"), BAD_USE.values(), ids=BAD_USE)
def test_bad_options_are_told_in_a_sentence(
    data: list[Path], tiny_store: Store, options: list[object], words: str
) -> None:
    result = run("tiny", *data, "--device", "cpu", *options)
    assert result.exit_code == 2
    assert words in said(result)
    assert own(tiny_store) == {"tiny"}


def test_a_model_that_is_not_there_is_refused(data: list[Path], tiny_store: Store) -> None:
    result = run("fungi", *data)
    assert result.exit_code == 2
    assert "no model 'fungi'" in said(result)


def test_a_file_and_a_folder_are_no_pair(data: list[Path], tiny_store: Store) -> None:
    result = run("tiny", data[0] / "a.tif", data[1])
    assert result.exit_code == 2
    assert "give two files, or two folders" in said(result)


def test_background_scribbles_alone_are_refused(data: list[Path], tiny_store: Store) -> None:
    write(data[1], a=np.ones(SHAPE, np.uint8), b=np.ones(SHAPE, np.uint8))
    result = run("tiny", *data, *NOTHING, "--trust", "sparse")
    assert result.exit_code == 2
    assert "all background" in said(result)
