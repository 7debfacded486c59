"""Image files: read whole or refused in a sentence, written so that others can read them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_unetpp import atomic
from napari_unetpp.atomic import replacing
from napari_unetpp.errors import UserError
from napari_unetpp.files import (
    PixelSize,
    find_pairs,
    image_paths,
    output_names,
    read_image,
    write_masks,
)

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 60000, (3, 32, 48)).astype(np.uint16)
COLOUR = RNG.integers(0, 255, (32, 48, 3)).astype(np.uint8)

TIFFS: dict[str, dict[str, Any]] = {
    "plain": {"photometric": "minisblack"},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "imagej deflated": {"imagej": True, "compression": "zlib", "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    "big-endian": {"byteorder": ">", "photometric": "minisblack"},
    "tiles": {"tile": (16, 16), "compression": "zlib", "photometric": "minisblack"},
}


# --- reading


@pytest.mark.parametrize("options", TIFFS.values(), ids=TIFFS)
def test_tiff_is_read_with_its_axes(tmp_path: Path, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", STACK, **options)

    image = read_image(tmp_path / "stack.tif")

    np.testing.assert_array_equal(image.data, STACK)
    assert image.data.dtype.isnative
    assert image.axes == "ZYX"


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_is_the_last_axis_however_it_is_kept(tmp_path: Path, planar: str) -> None:
    stored = COLOUR if planar == "contig" else np.moveaxis(COLOUR, -1, 0)
    path = tmp_path / "colour.tif"
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planar)

    image = read_image(path)

    np.testing.assert_array_equal(image.data, COLOUR)
    assert image.axes == "YXC"


@pytest.mark.parametrize("suffix", ["png", "bmp", "PNG"])
def test_pictures_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    imageio.imwrite(path, COLOUR)

    image = read_image(path)

    np.testing.assert_array_equal(image.data, COLOUR)
    assert (image.axes, image.pixel_size) == ("YXC", PixelSize())


def test_jpeg_and_grey_png_of_16_bits_are_read(tmp_path: Path) -> None:
    imageio.imwrite(tmp_path / "a.jpg", COLOUR)
    imageio.imwrite(tmp_path / "b.png", STACK[0])

    assert read_image(tmp_path / "a.jpg").data.shape == COLOUR.shape
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").data, STACK[0])


def test_grey_with_transparency_is_grey(tmp_path: Path) -> None:
    imageio.imwrite(tmp_path / "a.png", COLOUR[..., :2])

    image = read_image(tmp_path / "a.png")

    np.testing.assert_array_equal(image.data, COLOUR[..., 0])
    assert image.axes == "YX"


IMAGEJ = {"imagej": True, "resolution": (1 / 0.2, 1 / 0.3)}
PIXEL_SIZES: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "imagej": (
        {**IMAGEJ, "metadata": {"axes": "ZYX", "unit": "um", "spacing": 0.5}},
        {"Z": 0.5, "Y": 0.3, "X": 0.2},
    ),
    "imagej in nm": (
        {
            "imagej": True,
            "resolution": (0.005, 0.005),
            "metadata": {"axes": "ZYX", "unit": "nm", "spacing": 500},
        },
        {"Z": 0.5, "Y": 0.2, "X": 0.2},
    ),
    "imagej's escape for micro": (
        {**IMAGEJ, "metadata": {"axes": "ZYX", "unit": "\\u00B5m"}},
        {"Y": 0.3, "X": 0.2},
    ),
    "imagej in pixels": ({**IMAGEJ, "metadata": {"axes": "ZYX", "unit": "pixel"}}, {}),
    "ome": (
        {
            "ome": True,
            "metadata": {
                "axes": "ZYX",
                "PhysicalSizeX": 200,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 0.3,
                "PhysicalSizeZ": 0.0005,
                "PhysicalSizeZUnit": "mm",
            },
        },
        {"Z": 0.5, "Y": 0.3, "X": 0.2},
    ),
    "plain": (
        {
            "photometric": "minisblack",
            "resolution": (1e4 / 0.2, 1e4 / 0.3),
            "resolutionunit": "CENTIMETER",
        },
        {"Y": 0.3, "X": 0.2},
    ),
    "a printer's": (
        {"photometric": "minisblack", "resolution": (300, 300), "resolutionunit": "INCH"},
        {},
    ),
    "none": ({"photometric": "minisblack"}, {}),
}


@pytest.mark.parametrize(("options", "lengths"), PIXEL_SIZES.values(), ids=PIXEL_SIZES)
def test_pixel_size_is_read_in_micrometres(
    tmp_path: Path, options: dict[str, Any], lengths: dict[str, float]
) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", STACK, **options)

    found = read_image(tmp_path / "stack.tif").pixel_size

    assert found.lengths == pytest.approx(lengths)
    assert found.unit == ("µm" if lengths else "pixel")


# --- what can't be read


def no_image(path: Path) -> None:
    path.write_text("Dear diary\n" * 40)


def nothing(path: Path) -> None:
    path.touch()


def half_a_tiff(path: Path) -> None:
    tifffile.imwrite(path, STACK, imagej=True)
    path.write_bytes(path.read_bytes()[:5000])


def no_pixels(path: Path) -> None:
    with pytest.warns(UserWarning, match="zero-size"):
        tifffile.imwrite(path, np.zeros((0, 5), np.uint8))


def a_folder(path: Path) -> None:
    path.mkdir()


BAD_FILES: list[tuple[str, Callable[[Path], None], str]] = [
    ("missing.tif", lambda path: None, "There is no file"),
    ("text.tif", no_image, "can't be read as an image"),
    ("text.png", no_image, "can't be read as an image"),
    ("empty.tif", nothing, "is empty"),
    ("empty.png", nothing, "is empty"),
    ("half.tif", half_a_tiff, "truncated"),
    ("nothing.tif", no_pixels, "no pixels"),
    ("notes.txt", no_image, "images end in"),
    ("folder.tif", a_folder, "is a folder"),
]


@pytest.mark.parametrize(("name", "make", "words"), BAD_FILES, ids=[bad[0] for bad in BAD_FILES])
def test_bad_file_is_refused_in_one_sentence(
    tmp_path: Path, name: str, make: Callable[[Path], None], words: str
) -> None:
    make(tmp_path / name)

    with pytest.raises(UserError, match=words) as caught:
        read_image(tmp_path / name)

    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.fixture(scope="module", params=TIFFS)
def whole_tiff(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "stack.tif"
    tifffile.imwrite(path, STACK, **TIFFS[request.param])
    return path.read_bytes()


@given(data=st.data())
def test_truncated_tiff_never_gives_other_pixels(
    whole_tiff: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "truncated.tif"
    path.write_bytes(whole_tiff[: data.draw(st.integers(0, len(whole_tiff) - 1))])
    try:
        image = read_image(path)
    except UserError:
        return
    np.testing.assert_array_equal(image.data, STACK)  # what is cut off says nothing of pixels


# --- folders


def test_images_of_a_folder_are_sorted_and_others_left_out(tmp_path: Path) -> None:
    for name in ("b.tif", "a.PNG", ".hidden.tif", "notes.txt"):
        (tmp_path / name).touch()

    assert [path.name for path in image_paths(tmp_path)] == ["a.PNG", "b.tif"]


def test_pairs_are_found_by_name_and_missing_labels_are_named(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir(), labels.mkdir()
    for path in (images / "a.tif", images / "b.tif", labels / "a.png"):
        path.touch()

    with pytest.raises(UserError, match=r"1 of 2 images.*b\.tif"):
        find_pairs(images, labels)
    (labels / "b.tif").touch()
    assert find_pairs(images, labels) == [
        (images / "a.tif", labels / "a.png"),
        (images / "b.tif", labels / "b.tif"),
    ]


def test_two_files_are_a_pair_and_a_file_and_a_folder_are_none(tmp_path: Path) -> None:
    image, labels = tmp_path / "cells.tif", tmp_path / "painted.png"
    image.touch(), labels.touch()

    assert find_pairs(image, labels) == [(image, labels)]
    for pair in ((image, tmp_path), (tmp_path, labels)):
        with pytest.raises(UserError, match="give two files, or two folders"):
            find_pairs(*pair)


@pytest.mark.parametrize(("make", "words"), [(False, "no folder"), (True, "no image")])
def test_folder_without_images_is_refused(tmp_path: Path, make: bool, words: str) -> None:
    folder = tmp_path / "images"
    if make:
        folder.mkdir()

    with pytest.raises(UserError, match=words):
        image_paths(folder)


def test_results_of_the_same_stem_get_names_of_their_own() -> None:
    paths = [Path(p) for p in ("x/a/cell.tif", "x/b/cell.tif", "x/b/Cell.png", "x/b/other.tif")]

    assert list(output_names(paths).values()) == [
        "a_cell_tif",
        "b_cell_tif",
        "b_Cell_png",
        "other",
    ]


PARTS = st.sampled_from(["a", "A", "b", "a_b"])


@given(st.lists(st.tuples(PARTS, PARTS, st.sampled_from(["tif", "png"])), min_size=1, unique=True))
def test_no_two_results_share_a_name(parts: list[tuple[str, str, str]]) -> None:
    paths = [Path(folder) / f"{stem}.{suffix}" for folder, stem, suffix in parts]

    names = output_names(paths)

    assert set(names) == set(paths)
    assert len({name.casefold() for name in names.values()}) == len(paths)


# --- writing


@st.composite
def masks_with_axes(draw: st.DrawFn) -> tuple[NDArray[Any], str]:
    outer = draw(st.sampled_from(["", "Z", "T", "TZ"]))
    axes = "".join(draw(st.permutations(f"{outer}YX")))
    shape = draw(st.lists(st.integers(1, 5), min_size=len(axes), max_size=len(axes)))
    dtype, top = draw(
        st.sampled_from(
            [(bool, 1), (np.uint8, 255), (np.int32, 65535), (np.int32, 10**6), (np.float32, 1)]
        )
    )
    values = np.random.default_rng(draw(st.integers(0, 99))).random(shape) * top
    return np.rint(values).astype(dtype) if top > 1 else values.astype(dtype), axes


@given(masks_with_axes())
def test_what_was_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, given_masks: tuple[NDArray[Any], str]
) -> None:
    masks, axes = given_masks
    path = tmp_path_factory.getbasetemp() / "masks.tif"
    pixel_size = PixelSize({"Z": 0.5, "Y": 0.3, "X": 0.2}, "µm")

    write_masks(path, masks, axes=axes, pixel_size=pixel_size, force=True)
    image = read_image(path)

    lengths = dict(zip(axes, masks.shape, strict=True))
    kept = [axis for axis in "TZYX" if axis in axes and (axis in "YX" or lengths[axis] > 1)]
    assert image.axes == "".join(kept)
    ordered = masks.transpose([axes.index(axis) for axis in "TZYX" if axis in axes])
    np.testing.assert_array_equal(image.data, ordered.reshape([lengths[axis] for axis in kept]))
    assert image.pixel_size.lengths["Y"] == pytest.approx(0.3)
    assert image.pixel_size.lengths["X"] == pytest.approx(0.2)


def test_masks_are_an_imagej_file_with_provenance(tmp_path: Path) -> None:
    masks = (STACK > 30000).astype(np.uint8)
    path = tmp_path / "new" / "masks.tif"

    write_masks(
        path,
        masks,
        axes="ZYX",
        pixel_size=PixelSize({"Z": 0.5, "Y": 0.3, "X": 0.2}, "µm"),
        provenance={"model": "nuclei", "größe": 1},
    )

    with tifffile.TiffFile(path) as file:
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["unit"] == "um"
        assert file.imagej_metadata["spacing"] == 0.5
        assert file.imagej_metadata["max"] == 1  # else Fiji shows it as black
        info = json.loads(file.imagej_metadata["Info"])
        assert info == {"napari_unetpp": {"model": "nuclei", "größe": 1}}
        page = file.pages.first
        assert page.resolution == pytest.approx((1 / 0.2, 1 / 0.3))
        assert (page.compression, page.predictor) == (8, 1)  # Fiji knows deflate, not predictors
        assert page.dtype == np.uint8


def test_more_instances_than_imagej_counts_become_ome(tmp_path: Path) -> None:
    instances = np.arange(70_000, dtype=np.int32).reshape(250, 280)

    write_masks(tmp_path / "few.tif", instances % 60_000, axes="YX")
    write_masks(tmp_path / "many.tif", instances, axes="YX", provenance={"model": "nuclei"})

    with tifffile.TiffFile(tmp_path / "few.tif") as few:
        assert few.is_imagej
        assert few.pages.first.dtype == np.uint16
    with tifffile.TiffFile(tmp_path / "many.tif") as many:
        assert many.is_ome
        assert "nuclei" in (many.ome_metadata or "")
        np.testing.assert_array_equal(many.asarray(), instances)


def test_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path, masks = tmp_path / "masks.tif", np.ones((32, 48), np.uint8)
    path.write_text("precious")

    with pytest.raises(UserError, match="exists and is kept"):
        write_masks(path, masks, axes="YX")
    assert path.read_text() == "precious"

    write_masks(path, masks, axes="YX", force=True)
    np.testing.assert_array_equal(read_image(path).data, masks)


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UserError, match="can't be written"):
        write_masks(tmp_path / "file" / "masks.tif", np.ones((32, 48), np.uint8), axes="YX")


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "masks.tif"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()

    assert [p.name for p in tmp_path.iterdir()] == ["masks.tif"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("times", [2, 9])
def test_a_file_that_another_program_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """As virus scanners do on Windows, for a moment."""
    held, original = [None] * times, Path.replace

    def replace(self: Path, target: Path) -> Path:
        if held:
            held.pop()
            raise PermissionError(13, "Access is denied")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(atomic, "WAITS", (0, 0, 0))
    path = tmp_path / "masks.tif"
    path.write_text("old")
    if times > 3:
        with pytest.raises(UserError, match="Access is denied"):
            atomic.write_atomically(path, b"new")
    else:
        atomic.write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["masks.tif"]
    assert path.read_text() == ("old" if times > 3 else "new")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_results_can_be_read_by_whom_the_user_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_masks(tmp_path / "masks.tif", np.ones((32, 48), np.uint8), axes="YX")
    finally:
        os.umask(before)

    assert (tmp_path / "masks.tif").stat().st_mode & 0o777 == 0o644
