"""TIFF files of Fiji and of microscopes, and those that are too large for memory."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.files import PixelSize, open_image, read_image, tiff_write, write_masks
from napari_unetpp.files import tiff as tiff_module
from napari_unetpp.inference.chunks import ChunkedImage

RNG = np.random.default_rng(0)
PLANES = RNG.integers(0, 60000, (8, 32, 48)).astype(np.uint16)
HYPERSTACK = RNG.integers(0, 60000, (2, 3, 4, 32, 48)).astype(np.uint16)


def write_as_fiji(path: Path, planes: NDArray[Any], *lines: str, **options: Any) -> None:
    """Planes with the description that ImageJ gives them."""
    description = "\n".join(("ImageJ=1.54f", f"images={len(planes)}", *lines, "loop=false", ""))
    tifffile.imwrite(
        path,
        planes,
        description=description.encode("latin-1"),
        metadata=None,
        photometric="minisblack",
        **options,
    )


# --- what Fiji and microscopes write

FIJI: dict[str, tuple[tuple[str, ...], str, tuple[int, ...]]] = {
    "stack": (("slices=8",), "ZYX", (8,)),
    "time series": (("frames=8",), "TYX", (8,)),
    "channels": (("channels=8", "mode=composite"), "CYX", (8,)),
    "channels of a stack": (("channels=2", "slices=4", "hyperstack=true"), "ZCYX", (4, 2)),
    "stacks in time": (("slices=4", "frames=2", "hyperstack=true"), "TZYX", (2, 4)),
    "all": (("channels=2", "slices=2", "frames=2", "hyperstack=true"), "TZCYX", (2, 2, 2)),
    "no word of it": ((), "ZYX", (8,)),
}


@pytest.mark.parametrize(("lines", "axes", "outer"), FIJI.values(), ids=FIJI)
def test_hyperstacks_are_read_in_the_order_of_fiji(
    tmp_path: Path, lines: tuple[str, ...], axes: str, outer: tuple[int, ...]
) -> None:
    write_as_fiji(tmp_path / "a.tif", PLANES, *lines)

    image = read_image(tmp_path / "a.tif")

    assert image.axes == axes
    np.testing.assert_array_equal(image.data, PLANES.reshape(*outer, 32, 48))


def test_description_of_more_planes_than_there_are_is_refused(tmp_path: Path) -> None:
    write_as_fiji(tmp_path / "a.tif", PLANES, "channels=3", "slices=4", "hyperstack=true")

    with pytest.raises(UserError, match="its end is missing"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("axes", ["TZCYX", "TCZYX", "CTZYX", "ZTCYX", "CZTYX", "ZCTYX"])
def test_ome_tiff_keeps_its_order(tmp_path: Path, axes: str) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", HYPERSTACK, metadata={"axes": axes}, ome=True)

    image = read_image(tmp_path / "a.ome.tif")

    assert image.axes == axes
    np.testing.assert_array_equal(image.data, HYPERSTACK)


def test_stack_of_one_plane_is_a_plane(tmp_path: Path) -> None:
    options: dict[str, Any] = {"metadata": {"axes": "TZCYX"}}
    tifffile.imwrite(tmp_path / "a.tif", HYPERSTACK[:1, :1, :1], imagej=True, **options)
    tifffile.imwrite(tmp_path / "b.tif", HYPERSTACK[:1, :1, :1], ome=True, **options)

    assert read_image(tmp_path / "a.tif").axes == read_image(tmp_path / "b.tif").axes == "YX"


@pytest.mark.parametrize("bigtiff", [False, True])
def test_axes_without_names_are_guessed_or_given(tmp_path: Path, bigtiff: bool) -> None:
    tifffile.imwrite(tmp_path / "a.tif", HYPERSTACK, photometric="minisblack", bigtiff=bigtiff)

    assert read_image(tmp_path / "a.tif").axes == "TZCYX"
    assert read_image(tmp_path / "a.tif", "ctzyx").axes == "CTZYX"
    with pytest.raises(UserError, match="name 3 axes"):
        read_image(tmp_path / "a.tif", "ZYX")


def test_axes_that_the_file_names_are_kept_where_others_have_no_name(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", HYPERSTACK[0], photometric="minisblack", metadata={"axes": "QCYX"}
    )

    assert read_image(tmp_path / "a.tif").axes == "ZCYX"


def test_six_axes_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2,) * 6, np.uint8), photometric="minisblack")

    with pytest.raises(UserError, match="at most T, Z and C"):
        read_image(tmp_path / "a.tif")


MICRO = {"Z": 2.0, "Y": 0.5, "X": 0.25}
UNITS: dict[str, tuple[tuple[str, ...], float, dict[str, float]]] = {
    "µm": (("unit=µm", "spacing=2.0"), 1, MICRO),
    "escaped": (("unit=\\u00B5m", "spacing=2.0"), 1, MICRO),
    "micron": (("unit=micron", "spacing=2.0"), 1, MICRO),
    "microns": (("unit=microns", "spacing=2.0"), 1, MICRO),
    "nm": (("unit=nm", "spacing=2000"), 1000, MICRO),
    "downwards": (("unit=um", "spacing=-2.0"), 1, MICRO),
    "pixel": (("unit=pixel", "spacing=2.0"), 1, {}),
    "no unit": (("spacing=2.0",), 1, {}),
    "no spacing": (("unit=um",), 1, {"Y": 0.5, "X": 0.25}),
    "spacing of zero": (("unit=um", "spacing=0.0"), 1, {"Y": 0.5, "X": 0.25}),
    "spacing of no number": (("unit=um", "spacing=NaN"), 1, {"Y": 0.5, "X": 0.25}),
    "mixed units": (
        ("unit=nm", "yunit=µm", "zunit=mm", "spacing=2.0"),
        1,
        {"Z": 2000.0, "Y": 0.5, "X": 0.00025},
    ),
}


@pytest.mark.parametrize(("lines", "scale", "lengths"), UNITS.values(), ids=UNITS)
def test_sizes_of_fiji_are_read_in_micrometres(
    tmp_path: Path, lines: tuple[str, ...], scale: float, lengths: dict[str, float]
) -> None:
    path = tmp_path / "a.tif"
    resolution = (4 / scale, 2 / scale)
    write_as_fiji(path, PLANES, "slices=8", "finterval=2.5", *lines, resolution=resolution)

    found = read_image(path).pixel_size

    assert found.lengths == pytest.approx(lengths)
    assert found.interval == 2.5


OME_SIZES: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "zero": ({"PhysicalSizeX": 0, "PhysicalSizeY": 0.5}, {"Y": 0.5}),
    "none": ({}, {}),
    "a word": ({"PhysicalSizeX": "wide", "PhysicalSizeY": 0.5}, {"Y": 0.5}),
    "in pixels": ({"PhysicalSizeX": 2, "PhysicalSizeXUnit": "pixel"}, {}),
    "mixed": (
        {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeZ": 0.5},
        {"X": 0.25, "Z": 0.5},
    ),
}


@pytest.mark.parametrize(("metadata", "lengths"), OME_SIZES.values(), ids=OME_SIZES)
def test_sizes_of_ome_that_are_none_are_left_out(
    tmp_path: Path, metadata: dict[str, Any], lengths: dict[str, float]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PLANES, ome=True, metadata={"axes": "ZYX", **metadata})

    assert read_image(tmp_path / "a.tif").pixel_size.lengths == pytest.approx(lengths)


# --- large files


@pytest.fixture
def lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every TIFF counts as large."""
    monkeypatch.setattr(tiff_module, "LAZY_BYTES", 0)


@pytest.mark.usefixtures("lazy")
@pytest.mark.parametrize(
    ("shape", "photometric", "chunks"),
    [
        ((1100, 2100), "minisblack", (1024, 1024)),
        ((2, 40, 1030), "minisblack", (1, 40, 1024)),
        ((1030, 60, 3), "rgb", (1024, 60, 3)),
    ],
)
def test_pixels_that_stand_as_they_are_are_read_in_blocks(
    tmp_path: Path, shape: tuple[int, ...], photometric: Any, chunks: tuple[int, ...]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, shape, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric)
    image = open_image(tmp_path / "a.tif")
    assert image.data.chunks == chunks  # type: ignore[union-attr]
    np.testing.assert_array_equal(ChunkedImage(image.data)[(slice(None),) * pixels.ndim], pixels)


LAYOUTS: dict[str, dict[str, Any]] = {
    "one after the other": {"photometric": "minisblack"},
    "big-endian": {"photometric": "minisblack", "byteorder": ">"},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    "deflated": {"photometric": "minisblack", "compression": "zlib"},
    "strips": {"photometric": "minisblack", "compression": "zlib", "rowsperstrip": 5},
    "tiles": {"photometric": "minisblack", "compression": "zlib", "tile": (16, 16)},
    "bigtiff": {"photometric": "minisblack", "bigtiff": True, "tile": (16, 16)},
}


@pytest.mark.usefixtures("lazy")
@pytest.mark.parametrize("largest_page", [0, 1 << 20])
@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_large_tiff_is_read_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], largest_page: int
) -> None:
    monkeypatch.setattr(tiff_module, "LARGEST_PAGE", largest_page)
    tifffile.imwrite(tmp_path / "a.tif", PLANES, **options)

    image = open_image(tmp_path / "a.tif")

    assert not isinstance(image.data, np.ndarray)
    assert (image.axes, image.data.shape, image.data.dtype) == ("ZYX", (8, 32, 48), np.uint16)
    np.testing.assert_array_equal(image.data[5, 3:20, 40:], PLANES[5, 3:20, 40:])
    np.testing.assert_array_equal(image.data[..., ::7], PLANES[..., ::7])
    np.testing.assert_array_equal(np.asarray(image.data), PLANES)


@pytest.mark.usefixtures("lazy")
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_large_colour_tiff_has_its_colour_last(tmp_path: Path, planar: str) -> None:
    colour = RNG.integers(0, 255, (32, 48, 3)).astype(np.uint8)
    stored = colour if planar == "contig" else np.moveaxis(colour, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)

    image = open_image(tmp_path / "a.tif")

    assert image.axes == "YXC"
    np.testing.assert_array_equal(image.data[4:9, :, 1], colour[4:9, :, 1])


@pytest.mark.usefixtures("lazy")
def test_pyramid_has_its_coarser_images(tmp_path: Path) -> None:
    full = RNG.integers(0, 255, (128, 160)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(full, subifds=2, tile=(32, 32))
        for step in (2, 4):
            writer.write(full[::step, ::step], subfiletype=1, tile=(32, 32))

    levels = open_image(tmp_path / "a.ome.tif").levels

    for level, step in zip(levels, (1, 2, 4), strict=True):
        np.testing.assert_array_equal(np.asarray(level), full[::step, ::step])


@pytest.mark.usefixtures("lazy")
def test_large_file_is_closed_when_nobody_uses_it(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PLANES, compression="zlib", photometric="minisblack")

    image = open_image(tmp_path / "a.tif")
    del image
    gc.collect()  # an open file would be a ResourceWarning, and so an error


@pytest.mark.usefixtures("lazy")
def test_large_file_that_was_cut_off_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES, imagej=True)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(UserError, match=r"a\.tif can't be read.*truncated"):
        open_image(path)


@pytest.mark.usefixtures("lazy")
def test_damage_inside_a_large_file_is_told_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[6].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = bytes(20)
    path.write_bytes(content)

    image = open_image(path)

    np.testing.assert_array_equal(image.data[5], PLANES[5])
    with pytest.raises(UserError, match=r"A part of a\.tif can't be read"):
        _ = image.data[6]


# --- writing what is large, or read piece by piece


class Pieces:
    """Masks that remember how much was read at once."""

    def __init__(self, masks: NDArray[Any]) -> None:
        self._masks, self.shape, self.dtype = masks, masks.shape, masks.dtype
        self.largest = 0

    def __getitem__(self, key: Any) -> NDArray[Any]:
        part: NDArray[Any] = self._masks[key]
        self.largest = max(self.largest, part.nbytes)
        return part


@st.composite
def lazy_masks(draw: st.DrawFn) -> tuple[NDArray[Any], str]:
    axes = "".join(draw(st.permutations(draw(st.sampled_from(["", "Z", "T", "TZ"])) + "YX")))
    shape = [draw(st.integers(2, 40 if a in "YX" else 3)) for a in axes]
    dtype, top = draw(
        st.sampled_from([(bool, 1), (np.uint8, 255), (np.uint16, 65535), (np.int32, 10**6)])
    )
    values = np.random.default_rng(draw(st.integers(0, 99))).random(shape) * top
    return np.rint(values).astype(dtype), axes


@given(lazy_masks())
def test_masks_read_piece_by_piece_are_written_in_tiles(
    tmp_path_factory: pytest.TempPathFactory, given_masks: tuple[NDArray[Any], str]
) -> None:
    masks, axes = given_masks
    path = tmp_path_factory.getbasetemp() / "lazy.tif"
    size = PixelSize({"Z": 2.0, "Y": 0.5, "X": 0.25}, "µm", 2.5)
    pieces = Pieces(masks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiff_write, "TILE", 16)
        write_masks(path, pieces, axes=axes, pixel_size=size, force=True)
    image = read_image(path)

    letters = "".join(a for a in "TZYX" if a in axes)
    assert image.axes == letters
    np.testing.assert_array_equal(image.data, masks.transpose([axes.index(a) for a in letters]))
    assert image.pixel_size == PixelSize({a: size.lengths[a] for a in "ZYX"}, "µm", 2.5)
    columns = masks.shape[axes.index("X")]
    assert pieces.largest <= 16 * columns * masks.itemsize


def test_what_is_too_large_for_imagej_is_a_bigtiff_of_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_write, "IMAGEJ_BYTES", 1000)
    masks = (PLANES > 30000).astype(np.uint8)

    write_masks(tmp_path / "a.tif", masks, axes="ZYX", provenance={"model": "nuclei"})

    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff
        assert file.is_ome
        assert file.pages.first.is_tiled
        assert "nuclei" in (file.ome_metadata or "")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, masks)


def test_memory_does_not_grow_with_what_is_copied(tmp_path: Path) -> None:
    class Endless:
        dtype = np.dtype(np.uint8)

        def __init__(self, planes: int) -> None:
            self.shape = (planes, 600, 700)

        def __getitem__(self, key: Any) -> NDArray[np.uint8]:
            rows = range(600)[key[1]]
            return np.full((len(rows), 700), key[0] % 2, np.uint8)

    def peak(planes: int) -> int:
        tracemalloc.start()
        write_masks(tmp_path / f"{planes}.tif", Endless(planes), axes="ZYX")
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    few = peak(4)
    assert peak(40) < few + 2_000_000  # 15 MB more are written


def test_sizes_survive_from_fiji_to_the_masks_and_back(tmp_path: Path) -> None:
    lines = ("slices=4", "frames=2", "hyperstack=true", "unit=nm", "spacing=2000", "finterval=30")
    write_as_fiji(tmp_path / "a.tif", PLANES, *lines, resolution=(0.004, 0.002))
    image = read_image(tmp_path / "a.tif")
    masks = (image.data > 30000).astype(np.uint8)

    for name in ("b.tif", "b.zarr"):
        write_masks(tmp_path / name, masks, axes=image.axes, pixel_size=image.pixel_size)

        again = read_image(tmp_path / name)
        assert again.axes == "TZYX"
        assert again.pixel_size.lengths == pytest.approx({"Z": 2.0, "Y": 0.5, "X": 0.25})
        assert again.pixel_size.interval == 30
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        metadata = file.imagej_metadata or {}
    assert [metadata[key] for key in ("slices", "frames", "unit", "spacing", "finterval")] == [
        4,
        2,
        "um",
        2.0,
        30,
    ]
    assert json.loads(metadata["Info"]) == {"napari_unetpp": {}}
