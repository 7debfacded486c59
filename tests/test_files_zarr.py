"""OME-Zarr: read with axes and sizes or refused in a sentence, written so that others read it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.files import (
    PixelSize,
    find_pairs,
    image_paths,
    open_image,
    output_names,
    read_image,
    write_mask_group,
    write_masks,
)
from napari_unetpp.files.zarr_metadata import Version
from napari_unetpp.files.zarr_write import create_masks_store, piece_shape, pieces

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 60000, (3, 32, 48)).astype(np.uint16)
VERSIONS: tuple[Version, ...] = ("0.4", "0.5")


def axis(name: str, kind: str | None = "space", unit: str | None = "micrometer") -> dict[str, str]:
    given = {"name": name, "type": kind, "unit": unit}
    return {key: value for key, value in given.items() if value is not None}


def make_image(
    path: Path,
    pixels: NDArray[Any],
    axes: Any,
    scale: list[float],
    *,
    version: Version = "0.5",
    **more: Any,
) -> Path:
    """An image as another program would write it, with a second resolution."""
    group = zarr.create_group(str(path), zarr_format=3 if version == "0.5" else 2)
    chunks = tuple(max(1, n // 2) for n in pixels.shape)
    for level in range(2):
        part = pixels[(..., *[slice(None, None, 2**level)] * 2)]
        array = group.create_array(str(level), shape=part.shape, dtype=part.dtype, chunks=chunks)
        array[:] = part
    datasets = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for n in range(2)
    ]
    image = {"axes": axes, "datasets": datasets, **more}
    image = {key: value for key, value in image.items() if value is not None}
    group.attrs.update(
        {"ome": {"version": "0.5", "multiscales": [image]}}
        if version == "0.5"
        else {"multiscales": [{"version": "0.4", **image}]}
    )
    return path


def change_ome(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the metadata of an image of version 0.5."""
    file = path / "zarr.json"
    whole = json.loads(file.read_text())
    change(whole["attributes"]["ome"])
    file.write_text(json.dumps(whole))


def chunk_files(path: Path) -> list[Path]:
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and file.name != "zarr.json" and not file.name.startswith(".z")
    )


ZYX = [axis("z"), axis("y"), axis("x")]


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    return make_image(tmp_path / "stack.zarr", STACK, ZYX, [1.5, 0.5, 0.25])


# --- reading


@pytest.mark.parametrize("version", VERSIONS)
def test_image_is_read_with_axes_sizes_and_resolutions(tmp_path: Path, version: Version) -> None:
    path = make_image(tmp_path / "a.zarr", STACK, ZYX, [1.5, 0.5, 0.25], version=version)

    image = open_image(path)

    np.testing.assert_array_equal(np.asarray(image.data), STACK)
    assert image.axes == "ZYX"
    assert image.pixel_size == PixelSize({"Z": 1.5, "Y": 0.5, "X": 0.25}, "µm")
    assert [level.shape for level in image.levels] == [(3, 32, 48), (3, 16, 24)]
    assert not isinstance(image.data, np.ndarray)
    assert image.notice == ""


def test_only_the_chunks_asked_for_are_read(stack: Path) -> None:
    image = open_image(stack)
    for file in chunk_files(stack / "0"):
        if not str(file).endswith("0/1/1"):
            file.write_bytes(b"damaged")

    np.testing.assert_array_equal(image.data[0, 20:30, 24:], STACK[0, 20:30, 24:])
    with pytest.raises(UserError, match=r"A part of stack\.zarr can't be read"):
        image.data[0, :20]


SECONDS = axis("t", "time", "second")
CHANNEL = axis("c", "channel", None)
GOOD_AXES: dict[str, tuple[Any, list[float], str, PixelSize]] = {
    "all five": (
        [SECONDS, CHANNEL, *ZYX],
        [2.5, 1, 2, 0.5, 0.5],
        "TCZYX",
        PixelSize({"Z": 2, "Y": 0.5, "X": 0.5}, "µm", 2.5),
    ),
    "mixed units": (
        [axis("z"), axis("y", unit="nanometer"), axis("x", unit="millimeter")],
        [2, 500, 0.0005],
        "ZYX",
        PixelSize({"Z": 2, "Y": 0.5, "X": 0.5}, "µm"),
    ),
    "no units": (
        [axis(a, unit=None) for a in "zyx"],
        [2, 0.5, 0.5],
        "ZYX",
        PixelSize(),
    ),
    "voxel size of zero": (ZYX, [0, 0.5, 0.5], "ZYX", PixelSize({"Y": 0.5, "X": 0.5}, "µm")),
    "negative": (ZYX, [-2, 0.5, 0.5], "ZYX", PixelSize({"Y": 0.5, "X": 0.5}, "µm")),
    "names alone, as in 0.3": (["c", "y", "x"], [1, 1, 1], "CYX", PixelSize()),
    "capitals, colour last": (
        [axis("Y"), axis("X"), axis("C", "channel", None)],
        [0.5, 0.5, 1],
        "YXC",
        PixelSize({"Y": 0.5, "X": 0.5}, "µm"),
    ),
    "names of their own": (
        [axis("time", "time", "minute"), axis("row"), axis("column")],
        [1, 0.5, 0.5],
        "TYX",
        PixelSize({"Y": 0.5, "X": 0.5}, "µm", 60),
    ),
    "none, as in 0.1": (None, [1] * 5, "TCZYX", PixelSize()),
}


@pytest.mark.parametrize(("axes", "scale", "letters", "size"), GOOD_AXES.values(), ids=GOOD_AXES)
def test_axes_and_sizes_are_those_of_the_metadata(
    tmp_path: Path, axes: Any, scale: list[float], letters: str, size: PixelSize
) -> None:
    pixels = np.ones([4] * len(scale), np.uint8)

    image = open_image(make_image(tmp_path / "a.zarr", pixels, axes, scale))

    assert image.axes == letters
    assert image.pixel_size.lengths == pytest.approx(size.lengths)
    assert (image.pixel_size.unit, image.pixel_size.interval) == (size.unit, size.interval)


def test_transformations_of_all_resolutions_count_and_places_are_kept(tmp_path: Path) -> None:
    all_of_it = [
        {"type": "scale", "scale": [2, 2]},
        {"type": "translation", "translation": [10, 0]},
    ]
    path = make_image(
        tmp_path / "a.zarr",
        STACK[0],
        [axis("y"), axis("x")],
        [0.5, 0.25],
        coordinateTransformations=all_of_it,
    )

    image = open_image(path)

    assert image.pixel_size.lengths == {"Y": 1.0, "X": 0.5}
    assert image.origin == {"Y": 10.0}


def test_given_axes_go_before_those_of_the_file(stack: Path) -> None:
    change_ome(stack, lambda ome: ome["multiscales"][0]["axes"].__setitem__(0, axis("angle", None)))

    with pytest.raises(UserError, match=r"axes angle, y, x.*give them yourself, like ZYX"):
        open_image(stack)
    image = open_image(stack, "tyx")
    assert image.axes == "TYX"
    assert image.pixel_size.lengths == {"Y": 0.5, "X": 0.25}
    with pytest.raises(UserError, match="name 2 axes"):
        open_image(stack, "YX")


def test_arrays_without_metadata_are_read(tmp_path: Path) -> None:
    for name, more in {
        "plain": {},
        "named": {"dimension_names": ["channel", "y", "x"]},
        "xarray": {"attributes": {"_ARRAY_DIMENSIONS": ["time", "y", "x"]}, "zarr_format": 2},
        "big-endian": {"zarr_format": 2, "dtype": ">u2"},
    }.items():
        array = zarr.create_array(
            str(tmp_path / name), **{"shape": STACK.shape, "dtype": "u2", **more}
        )
        array[:] = STACK

    axes = {name: open_image(tmp_path / name).axes for name in ("plain", "named", "xarray")}
    assert axes == {"plain": "ZYX", "named": "CYX", "xarray": "TYX"}
    swapped = read_image(tmp_path / "big-endian").data
    assert swapped.dtype.isnative
    np.testing.assert_array_equal(swapped, STACK)


def test_missing_chunks_count_as_the_fill_value_and_are_told(stack: Path) -> None:
    chunk_files(stack / "0")[0].unlink()

    image = read_image(stack)

    assert image.notice == "stack.zarr lacks 1 of 12 chunks, which count as 0."
    assert not image.data[0, :16, :24].any()
    np.testing.assert_array_equal(image.data[0, 16:], STACK[0, 16:])


def test_coarser_resolutions_that_are_damaged_are_left_out(stack: Path) -> None:
    (stack / "1" / "zarr.json").write_text("{")

    assert len(open_image(stack).levels) == 1


def test_first_of_several_images_is_read(tmp_path: Path) -> None:
    path = tmp_path / "several.zarr"
    group = zarr.create_group(str(path), zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    make_image(path / "0", STACK, ZYX, [1, 1, 1], version="0.4")

    np.testing.assert_array_equal(read_image(path).data, STACK)


def test_url_is_opened_and_unknown_ones_are_refused() -> None:
    array = zarr.create_array("memory://cells.zarr", shape=(8, 9), chunks=(4, 4), dtype="u1")
    array[:] = 7

    np.testing.assert_array_equal(read_image("memory://cells.zarr").data, np.full((8, 9), 7))
    with pytest.raises(UserError, match="a URL of a known kind"):
        open_image("foo://cells.zarr")


@pytest.mark.skipif(
    __import__("importlib").util.find_spec("s3fs") is not None, reason="s3fs is installed"
)
def test_package_that_a_url_needs_is_named() -> None:
    with pytest.raises(UserError, match=r"begin with s3:// need one more package.*s3fs"):
        open_image("s3://bucket/cells.zarr")


# --- what can't be read


def empty(path: Path) -> None:
    path.mkdir()


def no_json(path: Path) -> None:
    make_image(path, STACK, ZYX, [1, 1, 1])
    (path / "zarr.json").write_text('{"zarr_format": 3, "attr')


def half_the_metadata(path: Path) -> None:
    make_image(path, STACK, ZYX, [1, 1, 1])
    (path / "zarr.json").write_text("{}")


def no_metadata(path: Path) -> None:
    make_image(path, STACK, ZYX, [1, 1, 1])
    whole = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps(whole | {"attributes": {}}))


def changed(**values: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        make_image(path, STACK, ZYX, [1, 1, 1])
        change_ome(path, lambda ome: ome["multiscales"][0].update(values))

    return make


def other(**values: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        zarr.create_group(str(path)).attrs["ome"] = values

    return make


def six_axes(path: Path) -> None:
    zarr.create_array(str(path), shape=(2,) * 6, dtype="u1")


def no_pixels(path: Path) -> None:
    zarr.create_array(str(path), shape=(0, 5), dtype="u1")


def texts(path: Path) -> None:
    zarr.create_array(str(path), shape=(4, 4), dtype="U3", zarr_format=2)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("payload-ran",)


def pickled(dtype: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        metadata = {"zarr_format": 2, "shape": [4, 4], "chunks": [4, 4], "dtype": dtype}
        metadata |= {"compressor": None, "filters": [{"id": "pickle"}], "order": "C"}
        (path / ".zarray").write_text(json.dumps({**metadata, "fill_value": 0}))
        objects = np.array([Payload()] * 16, dtype=object)
        (path / "0.0").write_bytes(numcodecs.Pickle().encode(objects))

    return make


ESCAPE = [{"path": "../other.zarr/0"}]
BAD_STORES: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty folder": (empty, "is empty or another kind of folder"),
    "wrong JSON": (no_json, "its metadata is no JSON"),
    "half the metadata": (half_the_metadata, "can't be read as zarr|multiscales"),
    "no metadata": (no_metadata, r"multiscales\) is missing: give one of its 2 parts, like .*/0"),
    "no list of images": (other(multiscales={}), "multiscales is empty or no list"),
    "axes that are no list": (changed(axes="zyx"), r"can't be understood \(axes"),
    "no resolutions": (changed(datasets=[]), r"can't be understood \(datasets"),
    "axes twice": (changed(axes=[axis("y"), axis("y"), axis("x")]), "each once"),
    "axes missing": (changed(axes=[axis("z"), axis("t", "time"), axis("x")]), "lack Y or X"),
    "one axis too few": (changed(axes=ZYX[1:]), "names 2 axes, but its pixels have 3"),
    "pixels that aren't there": (changed(datasets=[{"path": "9"}]), "no readable array"),
    "pixels elsewhere": (changed(datasets=ESCAPE), "no readable array"),
    "plate": (other(plate={"wells": [{"path": "A/1"}]}), "a plate.*bad.zarr/A/1/0"),
    "well": (other(well={"images": [{"path": "0"}]}), "a well.*bad.zarr/0"),
    "labels": (other(labels=["L1", "L2"]), "label images.*2 parts, like bad.zarr/L1"),
    "six axes": (six_axes, "at most T, Z and C"),
    "no pixels": (no_pixels, "no pixels"),
    "texts": (texts, "rather than plain numbers"),
    "pickled objects": (pickled("|O"), "pickle"),
    "pickled numbers": (pickled("<u2"), "pickle"),
}


@pytest.mark.parametrize(("make", "words"), BAD_STORES.values(), ids=BAD_STORES)
def test_bad_store_is_refused_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "bad.zarr")

    for read in (open_image, read_image):
        with pytest.raises(UserError, match=words) as caught:
            read(tmp_path / "bad.zarr")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "payload-ran").exists()


@pytest.mark.parametrize("version", VERSIONS)  # 0.4 is packed with Blosc, 0.5 with Zstandard
@pytest.mark.parametrize("cut", [1, 7, 780])
def test_corrupt_chunk_is_told_where_it_is_read(tmp_path: Path, version: Version, cut: int) -> None:
    path = make_image(tmp_path / "a.zarr", STACK, ZYX, [1, 1, 1], version=version)
    chunk = chunk_files(path / "0")[0]
    chunk.write_bytes(chunk.read_bytes()[:-cut])

    image = open_image(path)

    np.testing.assert_array_equal(image.data[1:], STACK[1:])
    with pytest.raises(UserError, match=r"A part of a\.zarr can't be read: it is damaged"):
        image.data[0]
    with pytest.raises(UserError, match=r"a\.zarr"):
        read_image(path)


@pytest.fixture(scope="module", params=VERSIONS)
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    return make_image(folder / "a.zarr", STACK, ZYX, [1, 1, 1], version=request.param)


@given(data=st.data())
def test_chunk_that_was_cut_off_never_gives_other_pixels(packed: Path, data: st.DataObject) -> None:
    chunk = chunk_files(packed / "0")[0]
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    try:
        with pytest.raises(UserError, match="damaged"):
            _ = open_image(packed).data[0]
    finally:
        chunk.write_bytes(whole)


# --- folders


def test_stores_of_a_folder_count_as_images(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder in (images, labels):
        make_image(folder / "a.zarr", STACK, ZYX, [1, 1, 1])
        make_image(folder / "no ending", STACK, ZYX, [1, 1, 1], version="0.4")
        make_image(folder / ".hidden.zarr", STACK, ZYX, [1, 1, 1])
    (images / "empty").mkdir()

    assert [path.name for path in image_paths(images)] == ["a.zarr", "no ending"]
    assert find_pairs(images, labels)[0] == (images / "a.zarr", labels / "a.zarr")
    assert find_pairs(images / "a.zarr", labels / "a.zarr") == [
        (images / "a.zarr", labels / "a.zarr")
    ]


def test_results_of_urls_are_named_too() -> None:
    sources = ["s3://lab/a/cell.zarr", "s3://lab/b/cell.zarr?x=1", "https://lab/other.zarr"]

    assert list(output_names(sources).values()) == ["a_cell_zarr", "b_cell_zarr", "other"]


# --- writing


@st.composite
def masks_with_axes(draw: st.DrawFn) -> tuple[NDArray[Any], str, PixelSize]:
    axes = "".join(draw(st.permutations(draw(st.sampled_from(["", "Z", "T", "TZ"])) + "YX")))
    shape = draw(st.lists(st.integers(1, 5), min_size=len(axes), max_size=len(axes)))
    dtype, top = draw(
        st.sampled_from([(bool, 1), (np.uint8, 255), (np.int32, 65535), (np.int64, 10**6)])
    )
    values = np.random.default_rng(draw(st.integers(0, 99))).random(shape) * top
    known = draw(st.lists(st.sampled_from("ZYX"), unique=True))
    lengths = {a: draw(st.floats(1e-4, 1e4)) for a in known if a in axes}
    interval = draw(st.none() | st.floats(1e-3, 1e5)) if "T" in axes else None
    return np.rint(values).astype(dtype), axes, PixelSize.of(lengths, interval)


@given(masks_with_axes(), st.sampled_from(VERSIONS))
def test_what_was_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory,
    given_masks: tuple[NDArray[Any], str, PixelSize],
    version: Version,
) -> None:
    masks, axes, size = given_masks
    path = tmp_path_factory.getbasetemp() / "masks.zarr"
    ordered = masks.transpose([axes.index(a) for a in "TZYX" if a in axes])
    letters = "".join(a for a in "TZYX" if a in axes)

    if version == "0.5":
        write_masks(path, masks, axes=axes, pixel_size=size, force=True)
    else:
        path = tmp_path_factory.mktemp("old") / "masks.zarr"
        chunks = [2] * masks.ndim
        levels = create_masks_store(
            path, ordered.shape, letters, np.uint32, chunks=chunks, pixel_size=size, version="0.4"
        )
        for piece in pieces(ordered.shape, piece_shape(levels[0])):
            levels[0][piece] = ordered[piece]
    image = read_image(path)

    assert image.axes == letters
    np.testing.assert_array_equal(image.data, ordered)
    assert image.pixel_size.lengths == pytest.approx(size.lengths)
    assert image.pixel_size.interval == pytest.approx(size.interval)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shards", [None, (1, 64, 64)])
def test_what_is_written_is_ome_zarr(
    tmp_path: Path, version: Version, shards: tuple[int, ...] | None
) -> None:
    path = tmp_path / "masks.zarr"

    levels = create_masks_store(
        path,
        (3, 100, 70),
        "ZYX",
        chunks=(1, 32, 32),
        shards=shards,
        pixel_size=PixelSize({"Z": 2.0, "Y": 0.5, "X": 0.5}, "µm"),
        origin={"Y": 3.0},
        provenance={"model": "nuclei"},
        version=version,
        levels=4,
    )

    assert yaozarrs.validate_zarr_store(str(path)) is not None
    shapes = [level.shape for level in levels]
    assert shapes == [(3, 100, 70), (3, 50, 35), (3, 25, 18), (2, 13, 9)]  # then Z is halved, too
    group = zarr.open_group(str(path), mode="r")
    assert group.attrs["napari_unetpp"] == {"model": "nuclei"}
    inner = group.attrs["ome"] if version == "0.5" else group.attrs
    assert "image-label" in inner  # type: ignore[operator]
    image = open_image(path)
    assert image.origin == {"Y": 3.0}
    assert image.pixel_size.lengths == {"Z": 2.0, "Y": 0.5, "X": 0.5}


def test_masks_of_an_image_are_label_images_of_one_group(tmp_path: Path) -> None:
    path = tmp_path / "masks.zarr"
    masks = (STACK > 30000).astype(np.uint8)

    write_mask_group(path, [("L1", masks, {"k": 1}), ("L2", 1 - masks, {"k": 2})], axes="ZYX")

    assert yaozarrs.validate_zarr_store(str(path)) is not None
    np.testing.assert_array_equal(read_image(path / "L2").data, 1 - masks)
    assert [entry.name for entry in tmp_path.iterdir()] == ["masks.zarr"]


def test_overviews_are_every_second_pixel(tmp_path: Path) -> None:
    masks = (RNG.random((1100, 1030)) > 0.5).astype(np.uint8)

    write_masks(tmp_path / "masks.zarr", masks, axes="YX")

    full, overview = open_image(tmp_path / "masks.zarr").levels
    np.testing.assert_array_equal(np.asarray(full), masks)
    np.testing.assert_array_equal(np.asarray(overview), masks[::2, ::2])


def test_existing_store_is_kept_unless_forced_and_until_the_new_one_is_complete(
    tmp_path: Path,
) -> None:
    path, masks = tmp_path / "masks.zarr", np.ones((32, 48), np.uint8)
    write_masks(path, masks, axes="YX")

    with pytest.raises(UserError, match="exists and is kept"):
        write_masks(path, 0 * masks, axes="YX")

    class Broken:
        shape, dtype = (32, 48), np.dtype(np.uint8)

        def __getitem__(self, key: object) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_masks(path, Broken(), axes="YX", force=True)
    np.testing.assert_array_equal(read_image(path).data, masks)
    assert [entry.name for entry in tmp_path.iterdir()] == ["masks.zarr"]

    write_masks(path, 0 * masks, axes="YX", force=True)
    assert not read_image(path).data.any()
    assert [entry.name for entry in tmp_path.iterdir()] == ["masks.zarr"]
