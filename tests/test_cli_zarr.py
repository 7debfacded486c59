"""`segment` with OME-Zarr in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from typer.testing import CliRunner, Result

from napari_unetpp.cli import app
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
    told = " ".join(result.stderr.split())
    assert "is left out" in told
    assert "1 of 3 pieces could not be done" in told
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
