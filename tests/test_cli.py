"""The command line as a user has it: files in, files and sentences out."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from napari_unetpp.cli import app
from napari_unetpp.cli.console import until_interrupted
from napari_unetpp.cli.train import train
from napari_unetpp.files import read_image
from napari_unetpp.models import Store, load_model

SHAPE = (48, 64)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 255, SHAPE, np.uint8)
STACK = RNG.integers(0, 4095, (3, *SHAPE)).astype(np.uint16)
COLOUR = RNG.integers(0, 255, (*SHAPE, 3), np.uint8)


def run(*arguments: object) -> Result:
    """What the command line gives; a bug's traceback fails the test."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_segment(*arguments: object) -> Result:
    return run("segment", *arguments, "--model", "tiny", "--device", "cpu")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "cell.tif"
    tifffile.imwrite(
        path, IMAGE, imagej=True, resolution=(5, 4), metadata={"axes": "YX", "unit": "um"}
    )
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "masks"


# --- segment


def test_masks_of_all_heads_are_written(image: Path, output: Path, tiny_store: Store) -> None:
    result = run_segment(image, "-o", output, "--instances")

    assert result.exit_code == 0
    assert names(output) == {f"cell_{name}.tif" for name in ("L1", "L2", "L3", "instances")}
    mask = read_image(output / "cell_L3.tif")
    assert mask.data.shape == SHAPE
    assert set(np.unique(mask.data)) <= {0, 1}
    assert mask.pixel_size.lengths == pytest.approx({"Y": 0.25, "X": 0.2})
    assert "1 image segmented" in result.stderr
    assert "CPU" in result.stderr
    assert result.stdout == ""


def test_results_tell_how_they_were_made(image: Path, output: Path, tiny_store: Store) -> None:
    run_segment(image, "-o", output, "--depth", 2, "--threshold", 0.4)

    with tifffile.TiffFile(output / "cell_L1.tif") as file:
        made = json.loads((file.imagej_metadata or {})["Info"])["napari_unetpp"]
    assert made["image"] == "cell.tif"
    assert made["sha256"] == tiny_store.load("tiny").digest
    assert (made["result"], made["depth"], made["threshold"]) == ("L1", 2, 0.4)


@pytest.mark.parametrize(
    ("heads", "expected"), [("deepest", {"cell_L2.tif"}), ("ensemble", {"cell_ensemble.tif"})]
)
def test_fewer_masks_on_request(
    image: Path, output: Path, tiny_store: Store, heads: str, expected: set[str]
) -> None:
    assert run_segment(image, "-o", output, "--heads", heads, "--depth", 2).exit_code == 0

    assert names(output) == expected


def test_stack_and_colour_and_folder(tmp_path: Path, output: Path, tiny_store: Store) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    tifffile.imwrite(folder / "stack.tif", STACK, photometric="minisblack")
    tifffile.imwrite(folder / "colour.tif", COLOUR, photometric="rgb")

    assert run_segment(folder, "-o", output, "--heads", "deepest").exit_code == 0

    assert read_image(output / "stack_L3.tif").axes == "ZYX"
    assert read_image(output / "colour_L3.tif").data.shape == SHAPE


def test_axes_and_channel_can_be_given(tmp_path: Path, output: Path, tiny_store: Store) -> None:
    tifffile.imwrite(tmp_path / "two.tif", STACK[:2], photometric="minisblack")
    tifffile.imwrite(tmp_path / "one.tif", STACK[1])
    options = ("-o", output, "--heads", "deepest")

    assert run_segment(tmp_path / "one.tif", *options).exit_code == 0
    result = run_segment(tmp_path / "two.tif", *options, "--axes", "cyx", "--channel", 1)

    assert result.exit_code == 0
    one, two = (read_image(output / f"{name}_L3.tif").data for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_same_stem_does_not_overwrite(tmp_path: Path, output: Path, tiny_store: Store) -> None:
    for well in ("a", "b"):
        (tmp_path / well).mkdir()
        tifffile.imwrite(tmp_path / well / "cell.tif", IMAGE)

    result = run_segment(tmp_path / "a", tmp_path / "b", "-o", output, "--heads", "deepest")

    assert result.exit_code == 0
    assert names(output) == {"a_cell_tif_L3.tif", "b_cell_tif_L3.tif"}


def test_batch_goes_on_and_lists_what_failed(
    image: Path, tmp_path: Path, output: Path, tiny_store: Store
) -> None:
    (tmp_path / "text.tif").write_text("Dear diary")
    (tmp_path / "cut.tif").write_bytes(image.read_bytes()[:1000])
    (tmp_path / "empty").mkdir()
    inputs = [tmp_path / name for name in ("text.tif", "gone.tif", "empty", "cut.tif")]

    result = run_segment(*inputs, image, "-o", output, "--heads", "deepest")

    assert result.exit_code == 2
    assert names(output) == {"cell_L3.tif"}
    assert "4 of 5 inputs failed" in result.stderr
    assert all(path.name in result.stderr for path in inputs)
    assert "Traceback" not in result.output


def test_existing_results_are_kept_unless_forced(
    image: Path, output: Path, tiny_store: Store
) -> None:
    output.mkdir()
    (output / "cell_L2.tif").write_text("painted by hand")

    refused = run_segment(image, "-o", output)
    assert refused.exit_code == 2
    assert "exists and is kept" in refused.stderr
    assert names(output) == {"cell_L2.tif"}
    assert (output / "cell_L2.tif").read_text() == "painted by hand"

    assert run_segment(image, "-o", output, "--force").exit_code == 0
    assert read_image(output / "cell_L2.tif").data.shape == SHAPE


def test_inputs_are_never_overwritten(tmp_path: Path, image: Path, tiny_store: Store) -> None:
    mask = tmp_path / "cell_L1.tif"
    tifffile.imwrite(mask, IMAGE)

    result = run_segment(image, mask, "-o", tmp_path, "--force")

    assert result.exit_code == 2
    assert "is one of the inputs" in result.stderr
    np.testing.assert_array_equal(tifffile.imread(mask), IMAGE)


ODD_IMAGES: dict[str, np.ndarray[Any, Any]] = {
    "one pixel": np.full((1, 1), 7, np.uint8),
    "constant": np.full(SHAPE, 7, np.uint16),
    "nan": np.where(IMAGE > 99, np.nan, IMAGE).astype(np.float32),
    "infinity": np.where(IMAGE > 250, np.inf, IMAGE).astype(np.float32),
    "bool": IMAGE > 99,
    "float16": IMAGE.astype(np.float16),
    "negative": IMAGE.astype(np.int16) - 200,
    "big-endian": IMAGE.astype(">u2"),
    "64 bits": IMAGE.astype(np.float64),
}


@pytest.mark.parametrize("pixels", ODD_IMAGES.values(), ids=ODD_IMAGES)
def test_odd_images_are_segmented(
    tmp_path: Path, output: Path, tiny_store: Store, pixels: np.ndarray[Any, Any]
) -> None:
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, pixels, byteorder=">" if pixels.dtype.byteorder == ">" else None)

    assert run_segment(path, "-o", output, "--heads", "deepest").exit_code == 0

    assert read_image(output / "odd_L3.tif").data.shape == pixels.shape


BAD_USE: dict[str, tuple[list[object], str]] = {
    "depth": (["--depth", 7], "heads L1 to L3"),
    "model": (["--model", "fungi"], "no model 'fungi'"),
    "model file": (["--model", "gone.safetensors"], "no model file"),
    "axes that don't fit": (["--axes", "TZYX"], "cell.tif: The axes 'TZYX' name 4 axes"),
    "unknown axes": (["--axes", "YQ"], "unknown letter"),
    "channel": (["--channel", 4], "no channel 4"),
    "threshold": (["--threshold", 1.5], "threshold is 1.5"),
    "tile": (["--tile", 8], "tile is 8"),
    "device": (["--device", "abacus"], "abacus"),
}


@pytest.mark.parametrize(("options", "words"), BAD_USE.values(), ids=BAD_USE)
def test_bad_options_are_told_in_a_sentence(
    image: Path, output: Path, tiny_store: Store, options: list[object], words: str
) -> None:
    result = run("segment", image, "-o", output, "--model", "tiny", *options)

    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not output.exists() or not names(output)


def test_complex_image_is_refused(tmp_path: Path, output: Path, tiny_store: Store) -> None:
    tifffile.imwrite(tmp_path / "wave.tif", IMAGE.astype(np.complex64))

    result = run_segment(tmp_path / "wave.tif", "-o", output)

    assert result.exit_code == 2
    assert "wave.tif: The image is complex" in result.stderr


def test_model_of_other_channels_is_refused(
    image: Path, output: Path, make_model: Callable[..., Any], tmp_path: Path
) -> None:
    from napari_unetpp.models.file import save_model

    two = make_model(in_channels=2)
    save_model(two.network, two.spec, tmp_path / "two.safetensors")

    result = run("segment", image, "-o", output, "--model", tmp_path / "two.safetensors")

    assert result.exit_code == 2
    assert "the model takes 2" in result.stderr


@pytest.mark.parametrize("place", ["file", "file/masks"])
def test_output_that_is_no_folder_is_refused(
    image: Path, tmp_path: Path, tiny_store: Store, place: str
) -> None:
    (tmp_path / "file").touch()

    result = run_segment(image, "-o", tmp_path / place)

    assert result.exit_code == 2
    assert "can't be made" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_output_that_cannot_be_written_is_refused(
    image: Path, output: Path, tiny_store: Store
) -> None:
    output.mkdir(mode=0o555)

    result = run_segment(image, "-o", output)

    assert result.exit_code == 2
    assert "can't be written" in result.stderr


# --- train


@pytest.fixture
def data(tmp_path: Path) -> list[Path]:
    """Three images of squares, with their labels."""
    folders = [tmp_path / "images", tmp_path / "labels"]
    for folder in folders:
        folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        labels = np.zeros(SHAPE, np.uint8)
        labels[8 + number : 28, 10:40] = 1
        noise = rng.integers(0, 60, SHAPE)
        tifffile.imwrite(folders[0] / f"{number}.tif", (labels * 150 + noise).astype(np.uint8))
        tifffile.imwrite(folders[1] / f"{number}.tif", labels)
    return folders


SMALL = ("--widths", "4,6,8", "--patch", 32, "--batch", 2, "--device", "cpu")


def test_training_gives_a_model_that_segments(
    data: list[Path], tmp_path: Path, image: Path, output: Path
) -> None:
    file = tmp_path / "squares.safetensors"
    often = ("--steps", 4, "--validate-every", 2, "--half")

    result = run("train", *data, "-o", file, "--validation", *data, *SMALL, *often)

    assert result.exit_code == 0
    assert "Step 4" in result.stderr
    model = load_model(file)
    assert (model.spec.name, model.spec.depth) == ("squares", 2)
    assert model.spec.history[0].settings["steps"] == 4
    assert run("segment", image, "-o", output, "--model", file).exit_code == 0
    assert names(output) == {"cell_L1.tif", "cell_L2.tif"}


def test_defaults_of_training_are_those_of_the_library() -> None:
    from napari_unetpp.training.options import FitOptions
    from napari_unetpp.training.run import TrainingData

    given = {name: p.default for name, p in inspect.signature(train).parameters.items()}
    library = FitOptions()
    same = ("steps", "minutes", "patch", "batch", "seed", "patience", "validate_every")
    same += ("learning_rate",)
    for name in same:
        assert given[name] == getattr(library, name), name
    assert given["scale"] == library.augmentation.scale
    assert given["stains"] == TrainingData(images=Path(), labels=Path()).stains


def test_interrupted_training_keeps_the_best_and_goes_on(data: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "squares.safetensors"
    checkpoint = tmp_path / "squares.checkpoint.safetensors"
    arguments = ("train", *data, "-o", file, *SMALL, "--validate-every", 1, "--patience", 10_000)

    def interrupt_when_saved() -> None:
        while not (checkpoint.exists() and file.exists()):
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt_when_saved)
    thread.start()
    stopped = run(*arguments, "--steps", 1000)
    thread.join()

    assert stopped.exit_code == 130
    assert "goes on from there" in stopped.stderr
    load_model(file)
    assert checkpoint.exists()
    finished = run(*arguments, "--steps", 1)  # more steps than that are done already
    assert finished.exit_code == 0
    assert not checkpoint.exists()


def test_second_interrupt_ends_at_once() -> None:
    # A shell starts what runs in its background deaf to interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with until_interrupted() as stop:
            assert not stop()
            signal.raise_signal(signal.SIGINT)
            assert stop()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


BAD_TRAINING: dict[str, tuple[list[object], str]] = {
    "widths": (["--widths", "4,many"], "The widths '4,many' can't be used"),
    "one width": (["--widths", "4"], "The widths '4' can't be used"),
    "name": (["--name", "../evil"], "The name '../evil' can't be used"),
    "steps": (["--steps", 0], "--steps"),
    "labels": (["--validation", "gone", "gone"], "no folder gone"),
}


@pytest.mark.parametrize(("options", "words"), BAD_TRAINING.values(), ids=BAD_TRAINING)
def test_training_that_cannot_be_is_refused(
    data: list[Path], tmp_path: Path, options: list[object], words: str
) -> None:
    file = tmp_path / "model.safetensors"

    result = run("train", *data, "-o", file, *options)

    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert not file.exists()


def test_trained_model_is_kept_unless_forced(data: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_text("weeks of work")

    result = run("train", *data, "-o", file, *SMALL)

    assert result.exit_code == 2
    assert file.read_text() == "weeks of work"


def test_model_file_needs_its_ending(data: list[Path], tmp_path: Path) -> None:
    assert "ends in .safetensors" in run("train", *data, "-o", tmp_path / "model.pt").stderr


# --- evaluate


def test_evaluation_is_a_table_and_json(
    data: list[Path], tmp_path: Path, tiny_store: Store
) -> None:
    (tmp_path / "index.csv").write_text("id,modality\n0,brightfield\n1,fluorescence\n2,[/red]\n")
    file = tmp_path / "scores.json"
    options = ("--model", "tiny", "--groups", tmp_path / "index.csv", "--json", file)

    result = run("evaluate", *data, *options, "--device", "cpu")

    assert result.exit_code == 0
    for word in ("L1", "L3", "ensemble", "IoU", "Dice", "F1", "fluorescence, 1 image", "[/red]"):
        assert word in result.stdout
    scores = json.loads(file.read_text())
    assert [head["head"] for head in scores["heads"]] == ["L1", "L2", "L3", "ensemble"]
    assert scores["heads"][0]["cost"]["parameters"] > 0
    assert run("evaluate", *data, *options).exit_code == 2  # the file is kept


@pytest.mark.parametrize("table", [None, "name,colour\na,b\n", ""])
def test_groups_that_cannot_be_read_are_refused(
    data: list[Path], tmp_path: Path, tiny_store: Store, table: str | None
) -> None:
    path = tmp_path / "index.csv"
    if table is not None:
        path.write_text(table)

    result = run("evaluate", *data, "--model", "tiny", "--groups", path)

    assert result.exit_code == 2
    assert "index.csv" in result.stderr


def test_evaluation_needs_a_depth_that_the_model_has(data: list[Path], tiny_store: Store) -> None:
    result = run("evaluate", *data, "--model", "tiny", "--depth", 4)

    assert result.exit_code == 2
    assert "heads L1 to L3" in result.stderr


def test_evaluation_recommends_the_cheapest_good_head(
    data: list[Path], tmp_path: Path, tiny_store: Store
) -> None:
    file = tmp_path / "scores.json"
    options = ("--model", "tiny", "--device", "cpu", "--tolerance", 100, "--json", file)

    result = run("evaluate", *data, *options)  # a tolerance is enough to ask for it

    assert result.exit_code == 0
    assert "Recommended: L1." in result.stdout  # the cheapest, as all is tolerated
    told = json.loads(file.read_text())["recommended"]
    assert (told["head"], told["tolerance"]) == ("L1", 100)
    assert told["why"] in " ".join(result.stdout.split())


def test_nothing_is_recommended_unasked(data: list[Path], tiny_store: Store) -> None:
    assert "Recommended" not in run("evaluate", *data, "--model", "tiny").stdout


def test_a_recommendation_needs_a_tolerance_and_objects(
    data: list[Path], tmp_path: Path, tiny_store: Store
) -> None:
    images, labels = data
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in labels.iterdir():
        tifffile.imwrite(empty / path.name, np.zeros_like(tifffile.imread(path)))

    refused = run("evaluate", *data, "--model", "tiny", "--tolerance", 101)
    nothing = run("evaluate", images, empty, "--model", "tiny", "--recommend")

    assert (refused.exit_code, nothing.exit_code) == (2, 2)
    assert "from 0 to 100" in refused.stderr
    assert "No label marks an object" in nothing.stderr


# --- models


def test_models_go_out_and_in(tmp_path: Path, tiny_store: Store) -> None:
    file = tmp_path / "given.safetensors"

    assert run("models", "export", "tiny", file).exit_code == 0
    assert run("models", "export", "tiny", file).exit_code == 2  # the file is kept
    assert run("models", "import", file).exit_code == 2  # the name is taken
    assert run("models", "import", file, "--name", "tiny again").exit_code == 0
    assert "tiny again" in run("models", "list").stdout
    assert run("models", "remove", "tiny again").exit_code == 0
    assert "tiny again" not in run("models", "list").stdout
    assert run("models", "remove", "tiny again").exit_code == 2


def test_info_says_what_a_model_is(tiny_store: Store) -> None:
    model = tiny_store.load("tiny")

    result = run("models", "info", "tiny")

    assert result.exit_code == 0
    shown = "".join(result.stdout.split())
    assert model.digest in shown
    counts = [sum(p.numel() for p in model.network.pruned(k).parameters()) for k in (1, 2, 3)]
    assert all(f"L{k}{count:,}" in shown for k, count in enumerate(counts, start=1))


def test_history_is_shown_as_it_is(tmp_path: Path, make_model: Callable[..., Any]) -> None:
    from napari_unetpp.models import HistoryEntry
    from napari_unetpp.models.file import save_model

    entry = HistoryEntry(action="trained", settings={"steps": 7, "note": "[/b]"})
    model = make_model(description="for [bold] cells [/x]", licence="CC0", history=(entry,))
    save_model(model.network, model.spec, tmp_path / "m.safetensors")

    shown = run("models", "info", tmp_path / "m.safetensors").stdout

    assert all(word in shown for word in ("[bold] cells [/x]", "CC0", "trained", "steps", "[/b]"))


def test_damaged_model_does_not_hide_the_others(tiny_store: Store) -> None:
    (tiny_store.folder / "broken.safetensors").write_bytes(b"no")

    result = run("models", "list")

    assert result.exit_code == 0
    assert "tiny" in result.stdout
    assert "can't" in result.stdout


# --- all of it


def test_wrong_use_exits_with_2() -> None:
    assert run("segment").exit_code == 2
    assert run("finish").exit_code == 2


def in_new_python(code: str, *arguments: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WITHOUT_QT = """
import sys
for name in ("napari", "qtpy", "magicgui", "superqt", "vispy", "PyQt5", "PyQt6", "PySide6"):
    sys.modules[name] = None
from napari_unetpp.cli import main
sys.argv[0] = "napari-unetpp"
main()
"""


def test_it_works_with_no_qt(image: Path, output: Path, tiny_store: Store) -> None:
    options = ("--model", "tiny", "--device", "cpu", "-o", output)

    in_new_python(
        WITHOUT_QT, "segment", image, *options, NAPARI_UNETPP_MODELS=str(tiny_store.folder)
    )

    assert names(output) == {"cell_L1.tif", "cell_L2.tif", "cell_L3.tif"}


def test_demo_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "napari_unetpp.widgets", None)

    result = run("demo")

    assert result.exit_code == 2
    assert "pip install 'napari-unetpp[all]'" in result.stderr


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_help_does_without_torch(command: str) -> None:
    code = """
import sys
from napari_unetpp.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
print([name for name in ("torch", "scipy", "napari") if name in sys.modules])
"""
    assert in_new_python(code, command, "--help").endswith("[]\n")
