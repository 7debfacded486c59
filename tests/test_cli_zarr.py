"""`segment` with OME-Zarr in and out."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from typer.testing import CliRunner, Result

from napari_unetpp.cli import app
from napari_unetpp.errors import UserError
from napari_unetpp.files import PixelSize, open_image, read_image, write_masks
from napari_unetpp.models import Store

STACK = np.random.default_rng(0).integers(0, 255, (3, 40, 56)).astype(np.uint8)
SIZE = PixelSize({"Z": 2.0, "Y": 0.5, "X": 0.25}, "µm")


def segment(*arguments: object) -> Result:
    """What the command line gives; a bug's traceback fails the test."""
    words = ["segment", *arguments, "--model", "tiny", "--device", "cpu"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "cells.zarr"
    write_masks(path, STACK, axes="ZYX", pixel_size=SIZE, origin={"Z": 7.0})
    return path


@pytest.fixture
def as_tiff(tmp_path: Path) -> Path:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"})
    return path


def test_masks_go_from_ome_zarr_to_ome_zarr(
    stack: Path, as_tiff: Path, tmp_path: Path, tiny_store: Store
) -> None:
    out = tmp_path / "new" / "masks.zarr"

    assert segment(stack, "-o", out, "--instances").exit_code == 0
    assert segment(as_tiff, "-o", tmp_path / "tiffs", "--instances").exit_code == 0

    assert yaozarrs.validate_zarr_store(str(out)) is not None
    for name in ("L1", "L2", "L3", "instances"):
        masks, expected = read_image(out / name), tmp_path / "tiffs" / f"cells_{name}.tif"
        np.testing.assert_array_equal(masks.data, read_image(expected).data)
        assert (masks.axes, masks.pixel_size, masks.origin) == ("ZYX", SIZE, {"Z": 7.0})
    made: Any = zarr.open_group(str(out / "L2"), mode="r").attrs["napari_unetpp"]
    assert (made["image"], made["result"]) == ("cells.zarr", "L2")
    assert made["sha256"] == tiny_store.load("tiny").digest


def test_instances_of_results_on_the_disk_are_those_of_results_in_memory(
    stack: Path, tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--instances", "--heads", "deepest", "--threshold", "0.45"]
    assert segment(stack, "-o", tmp_path / "memory.zarr", *more).exit_code == 0
    monkeypatch.setattr("napari_unetpp.inference.heads.fits_in_memory", lambda needed: False)
    assert segment(stack, "-o", tmp_path / "disk.zarr", *more).exit_code == 0

    found, expected = (
        np.asarray(read_image(tmp_path / name / "instances").data)
        for name in ("disk.zarr", "memory.zarr")
    )
    assert expected.max() > 1
    np.testing.assert_array_equal(found, expected)


def test_folders_may_hold_both_kinds(stack: Path, tmp_path: Path, tiny_store: Store) -> None:
    tifffile.imwrite(tmp_path / "other.tif", STACK[0])
    out = tmp_path / "masks"

    assert segment(tmp_path, "-o", out, "--heads", "deepest").exit_code == 0

    assert {path.name for path in out.iterdir()} == {"cells_L3.tif", "other_L3.tif"}
    assert read_image(out / "cells_L3.tif").pixel_size == SIZE


@pytest.mark.parametrize("axes", ["TYXC", "CTYX", "yxct"])
def test_axes_in_any_order(tmp_path: Path, tiny_store: Store, axes: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (2, 3, 40, 56)).astype(np.uint8)
    stored = pixels.transpose(["TCYX".index(a) for a in axes.upper()])
    for name, array in {"sorted.zarr": pixels, "odd.zarr": stored}.items():
        zarr.create_array(str(tmp_path / name), data=array)
    options = ("--heads", "deepest", "--channel", 1)

    first = segment(tmp_path / "sorted.zarr", "-o", tmp_path, "--axes", "TCYX", *options)
    second = segment(tmp_path / "odd.zarr", "-o", tmp_path, "--axes", axes, *options)

    assert (first.exit_code, second.exit_code) == (0, 0)
    masks = [read_image(tmp_path / f"{name}_L3.tif").data for name in ("sorted", "odd")]
    np.testing.assert_array_equal(*masks)


def test_missing_chunks_are_told(stack: Path, tmp_path: Path, tiny_store: Store) -> None:
    next(path for path in (stack / "0").rglob("0") if path.is_file()).unlink()

    result = segment(stack, "-o", tmp_path / "masks")

    assert result.exit_code == 0
    assert "cells.zarr lacks 1 of 3 chunks, which count as 0" in result.stderr


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(
    stack: Path, tmp_path: Path, tiny_store: Store
) -> None:
    next(path for path in (stack / "0").rglob("0") if path.is_file()).write_bytes(b"no")

    result = segment(stack, "-o", tmp_path / "masks.zarr")

    assert result.exit_code == 2
    assert "1 of 3 pieces could not be done, the first as: A part of cells.zarr" in result.stderr
    assert "--skip-damaged" in result.stderr

    result = segment(stack, "-o", tmp_path / "masks.zarr", "--skip-damaged")

    assert result.exit_code == 2
    assert "1 of 3 pieces are empty in the masks" in result.stderr
    assert not (tmp_path / "masks.zarr.journal").exists()
    mask = np.asarray(open_image(tmp_path / "masks.zarr" / "L1").data[...])
    assert [plane.any() for plane in mask].count(False) == 1


def test_one_store_is_for_one_image(stack: Path, as_tiff: Path, tiny_store: Store) -> None:
    result = segment(stack, as_tiff, "-o", stack.parent / "masks.zarr")

    assert result.exit_code == 2
    assert "can hold the masks of one image, and 2 are given" in result.stderr


def test_input_is_never_overwritten(stack: Path, tiny_store: Store) -> None:
    for source in (stack, stack / "0"):
        result = segment(source, "-o", stack, "--force")

        assert result.exit_code == 2
        assert "is one of the inputs" in result.stderr
    np.testing.assert_array_equal(read_image(stack).data, STACK)


def test_existing_masks_are_kept_unless_forced(
    stack: Path, tmp_path: Path, tiny_store: Store
) -> None:
    out = tmp_path / "masks.zarr"
    assert segment(stack, "-o", out, "--heads", "deepest").exit_code == 0

    assert segment(stack, "-o", out).exit_code == 2
    assert not (out / "L1").exists()
    assert segment(stack, "-o", out, "--force").exit_code == 0
    assert (out / "L1").is_dir()


def test_store_that_is_none_is_told(tmp_path: Path, tiny_store: Store) -> None:
    (tmp_path / "empty.zarr").mkdir()

    result = segment(tmp_path / "empty.zarr", tmp_path / "gone.zarr", "-o", tmp_path / "masks")

    assert result.exit_code == 2
    assert "empty.zarr is no zarr" in result.stderr
    assert "There is no file" in result.stderr


# --- piece by piece


def test_pieces_fit_together_as_tiles_do(
    stack: Path, tmp_path: Path, tiny_store: Store, fp32: None
) -> None:
    large = np.random.default_rng(2).integers(0, 255, (300, 420)).astype(np.uint8)
    write_masks(tmp_path / "large.zarr", large, axes="YX")
    options = ("--heads", "all")

    segment(tmp_path / "large.zarr", "-o", tmp_path / "whole.zarr", *options)
    segment(tmp_path / "large.zarr", "-o", tmp_path / "parts.zarr", *options, "--piece", 128)

    for name in ("L1", "L2", "L3"):
        whole, parts = (read_image(tmp_path / f"{n}.zarr" / name).data for n in ("whole", "parts"))
        assert np.mean(whole != parts) < 0.001


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_version_of_ome_zarr_can_be_chosen(
    stack: Path, tmp_path: Path, tiny_store: Store, version: str
) -> None:
    out = tmp_path / "masks.zarr"

    assert segment(stack, "-o", out, "--ome-zarr", version).exit_code == 0

    assert (out / ".zattrs").exists() == (version == "0.4")
    assert yaozarrs.validate_zarr_store(str(out / "L1")) is not None


def test_interrupted_run_goes_on(
    stack: Path, tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_unetpp.cluster import worker

    out, segment_piece = tmp_path / "masks.zarr", worker._segment_piece

    def interrupted(plan: Any, number: int) -> None:
        segment_piece(plan, number)
        if number == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(worker, "_segment_piece", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stopped = segment(stack, "-o", out)
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.exit_code == 130
    assert "2 of 3 pieces" in stopped.stderr
    assert "the same command goes on" in stopped.stderr

    refused = segment(stack, "-o", out, "--threshold", 0.4)
    assert refused.exit_code == 2
    assert "was begun with other settings (threshold was 0.5 and is 0.4)" in refused.stderr
    finished = segment(stack, "-o", out)
    assert finished.exit_code == 0
    assert "(1 piece)" in finished.stderr
    again = segment(stack, "-o", out)
    assert again.exit_code == 0
    assert "is complete already" in again.stderr


def test_run_whose_masks_were_removed_begins_anew(
    stack: Path, tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_unetpp.cluster import worker

    out, segment_piece = tmp_path / "masks.zarr", worker._segment_piece

    def broken(plan: Any, number: int) -> None:
        if number == 1:
            raise UserError("The disk is full.")
        segment_piece(plan, number)

    with monkeypatch.context() as patched:
        patched.setattr(worker, "_segment_piece", broken)
        assert segment(stack, "-o", out).exit_code != 0
    shutil.rmtree(out)
    assert segment(stack, "-o", out).exit_code == 0
    wanted = tmp_path / "wanted.zarr"
    assert segment(stack, "-o", wanted).exit_code == 0
    for name in ("L1", "L3"):
        found, right = (open_image(folder / name).data for folder in (out, wanted))
        np.testing.assert_array_equal(np.asarray(found), np.asarray(right))


BAD_WAYS: dict[str, tuple[list[str], str]] = {
    "TIFFs from a cluster": (["-o", "masks", "--scheduler", "tcp://x:1"], "ends in .zarr"),
    "TIFFs to a URL": (["-o", "memory://masks"], "ends in .zarr"),
    "instances from a cluster": (
        ["-o", "masks.zarr", "--scheduler", "tcp://x:1", "--instances"],
        "leave away --instances",
    ),
    "channel": (["-o", "masks.zarr", "--channel", "7"], "no channel 7"),
    "axes": (["-o", "masks.zarr", "--axes", "YX"], "name 2 axes"),
}


@pytest.mark.parametrize(("options", "words"), BAD_WAYS.values(), ids=BAD_WAYS)
def test_what_does_not_go_together_is_told_before_anything_is_written(
    stack: Path,
    tmp_path: Path,
    tiny_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())

    result = segment(stack, *options)

    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert set(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_cluster_finds_what_one_process_finds(tmp_path: Path, tiny_store: Store) -> None:
    distributed = pytest.importorskip("distributed")
    large = np.random.default_rng(2).integers(0, 255, (200, 300)).astype(np.uint8)
    write_masks(tmp_path / "large.zarr", large, axes="YX", pixel_size=SIZE)
    options = ("--heads", "ensemble", "--piece", 128)

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        address = ("--scheduler", cluster.scheduler_address)
        result = segment(tmp_path / "large.zarr", "-o", tmp_path / "far.zarr", *options, *address)
    segment(tmp_path / "large.zarr", "-o", tmp_path / "here.zarr", *options)

    assert result.exit_code == 0
    assert "(6 pieces)" in result.stderr
    far, here = (read_image(tmp_path / f"{n}.zarr" / "ensemble").data for n in ("far", "here"))
    assert far.any()
    np.testing.assert_array_equal(far, here)
