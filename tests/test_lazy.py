"""Lazy images: read chunk by chunk, each once, and what can't be read is named."""

from __future__ import annotations

import weakref
from collections import Counter
from itertools import product

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.inference import reading
from napari_unetpp.inference.chunks import ChunkedImage, UnreadableError
from napari_unetpp.inference.layout import Layout
from napari_unetpp.inference.normalise import find_limits
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment


class Counted:
    """A chunked image that counts what is read of it, and fails at some places."""

    def __init__(self, pixels, chunks, broken=()):
        self.pixels, self.chunks, self.broken = pixels, chunks, set(broken)
        self.shape, self.dtype = pixels.shape, pixels.dtype
        self.reads = Counter()

    def __getitem__(self, key):
        spans = [(p, p + 1) if isinstance(p, int) else (p.start, p.stop) for p in key]
        numbers = [
            range(start // side, -(-stop // side))
            for (start, stop), side in zip(spans, self.chunks, strict=True)
        ]
        if self.broken.intersection(product(*numbers)):
            raise OSError("the checksum is wrong")
        self.reads.update(product(*numbers))
        return self.pixels[key]


def picture(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random(shape) * np.linspace(1, 3, shape[-1]) * 1000).astype(np.uint16)


@given(st.data())
def test_any_part_is_as_in_the_image(data):
    shape = (3, 17, 29)
    pixels = picture(*shape)
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    image = Counted(pixels, chunks)
    chunked = ChunkedImage(image)
    for _ in range(3):
        parts = [
            slice(start := data.draw(st.integers(0, n - 1)), data.draw(st.integers(start + 1, n)))
            for n in shape[1:]
        ]
        key = (data.draw(st.integers(0, 2)), *parts)
        np.testing.assert_array_equal(chunked[key], pixels[key])
    assert set(image.reads.values()) <= {1}


@pytest.fixture
def tile_by_tile(monkeypatch):
    """Planes of any size are read tile by tile."""
    monkeypatch.setattr(reading, "WHOLE_PIXELS", 0)


@pytest.mark.usefixtures("tile_by_tile", "fp32")
def test_each_chunk_is_read_once_though_tiles_overlap(tiny_model):
    pixels = picture(2, 300, 410)
    image = Counted(pixels, (1, 64, 80))
    options = SegmentOptions(tile=160, floats=True)
    found = segment(image, tiny_model, axes="ZYX", options=options)
    assert len(image.reads) == 2 * 5 * 6
    assert set(image.reads.values()) == {1}
    assert (found.reached == 3).all()


@pytest.mark.usefixtures("tile_by_tile")
def test_nothing_of_a_tile_is_held_while_the_next_is_read(tiny_model, monkeypatch):
    read, tiles = reading.Reader.read, []

    def watched(self, index, region):
        assert not any(tile() is not None for tile in tiles)
        pixels = read(self, index, region)
        tiles.append(weakref.ref(pixels))
        return pixels

    monkeypatch.setattr(reading.Reader, "read", watched)
    segment(picture(300, 410), tiny_model, options=SegmentOptions(tile=128))
    assert len(tiles) > 4


@pytest.mark.usefixtures("tile_by_tile", "fp32")
@pytest.mark.parametrize("kind", ["dask", "zarr", "numpy"])
def test_lazy_images_give_what_images_in_memory_give(tiny_model, kind):
    pixels = picture(2, 150, 210)
    whole = segment(pixels, tiny_model, options=SegmentOptions(floats=True))
    image = {
        "dask": lambda: da.from_array(pixels, chunks=(1, (70, 50, 30), 64)),
        "zarr": lambda: zarr.array(pixels, chunks=(1, 64, 64)),
        "numpy": lambda: pixels,
    }[kind]()
    found = segment(image, tiny_model, options=SegmentOptions(floats=True, tile=160))
    assert abs(found.values - whole.values).max() <= 0.02


@pytest.mark.usefixtures("tile_by_tile", "fp32")
@pytest.mark.parametrize(("broken", "left_out", "beside"), [(4, 450, 150), (0, 50, 350)])
def test_what_cannot_be_read_is_named_and_the_rest_goes_on(tiny_model, broken, left_out, beside):
    pixels = picture(2, 200, 500)
    image = Counted(pixels, (1, 200, 100), broken={(1, 0, broken)})
    options = SegmentOptions(tile=200, floats=True, overview=pixels[:, ::2, ::2])
    events = []
    found = segment(image, tiny_model, axes="ZYX", options=options, progress=events.append)
    notices = [event.notice for event in events if event.notice]
    assert len(notices) == [event.head for event in events].count(0) > 0
    for notice in notices:
        assert notice.startswith("A part of the image can't be read (the checksum is wrong): Z 1,")
        assert notice.endswith("is left out.")
    assert found.reached[0].all()
    assert not found.reached[1, :, left_out].any()
    whole = segment(pixels, tiny_model, axes="ZYX", options=options)
    reached = found.reached[1] == 3
    assert reached[:, beside].all()
    # beside what is missing less is seen around, but nothing of it is blended in
    assert abs(found.values - whole.values)[:, 0, 1][:, reached].max() <= 0.2


def test_a_plane_that_cannot_be_read_is_left_out(tiny_model):
    image = Counted(picture(3, 60, 90), (1, 60, 90), broken={(1, 0, 0)})
    events = []
    found = segment(image, tiny_model, axes="ZYX", progress=events.append)
    assert "Z 1, Y 0 to 60, X 0 to 90 is left out" in next(e.notice for e in events if e.notice)
    assert found.reached[[0, 2]].all()
    assert not found.reached[1].any()


@pytest.mark.usefixtures("tile_by_tile")
def test_the_intensities_can_come_from_an_overview(tiny_model):
    pixels = picture(240, 330)
    image = Counted(pixels, (240, 30))
    options = SegmentOptions(overview=pixels[::4, ::4], region=(slice(0, 64), slice(0, 64)))
    found = segment(image, tiny_model, options=options)
    assert found.reached[:64, :64].all()
    assert max(number[1] for number in image.reads) <= 5  # nothing is read just for intensities


def test_an_error_of_the_image_tells_why():
    image = ChunkedImage(Counted(picture(20, 30), (10, 10), broken={(0, 0)}))
    with pytest.raises(UnreadableError, match="the checksum is wrong"):
        image[slice(0, 20), slice(0, 5)]


def test_chunks_that_lie_together_are_read_at_once():
    pixels = picture(40, 60)
    image = Counted(pixels, (10, 12))
    asked = []
    read = image.__class__.__getitem__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Counted, "__getitem__", lambda self, key: asked.append(key) or read(self, key)
        )
        chunked = ChunkedImage(image)
        np.testing.assert_array_equal(chunked[5:25, 3:40], pixels[5:25, 3:40])
    assert asked == [(slice(0, 30), slice(0, 48))]


def scan(*shape):
    """Objects on dark, as a stitched scan has them: nothing near the corners."""
    pixels = np.full(shape, 100, np.uint16)
    middle = tuple(slice(n // 4, n - n // 4) for n in shape[-2:])
    pixels[..., *middle] = picture(*shape)[..., *middle]
    return pixels


@pytest.mark.usefixtures("tile_by_tile")
@pytest.mark.parametrize("chunks", [(300, 410), (40, 410), (30, 50)])
def test_intensities_come_from_all_over_a_plane_whatever_its_chunks(
    tiny_model, monkeypatch, chunks
):
    monkeypatch.setattr(reading, "LARGEST_PART", 30 * 50)
    pixels = scan(300, 410)
    found = limits_of(Counted(pixels, chunks), tiny_model)
    wanted = limits_of(pixels, tiny_model)
    assert found.low == pytest.approx(wanted.low, rel=0.1)
    assert found.high == pytest.approx(wanted.high, rel=0.1)


def test_intensities_come_from_all_over_a_volume_whatever_its_chunks(make_model, monkeypatch):
    monkeypatch.setattr(reading, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(reading, "LARGEST_PART", 30 * 50)
    pixels = scan(40, 120, 160)
    model = make_model(dims=3, widths=(4, 6, 8))
    found = limits_of(Counted(pixels, (1, 120, 160)), model)
    assert found.high == pytest.approx(limits_of(pixels, model).high, rel=0.1)


def limits_of(image, model):
    """What the intensities of the only piece are."""
    layout = Layout.of(image, dims=model.spec.dims)
    reader = reading.Reader(image, layout, model.spec.normalisation, in_channels=1)
    (values,) = reader.intensities(())
    return find_limits(values, model.spec.normalisation)


def test_an_overview_with_fewer_planes_is_read_where_the_plane_is(tiny_model):
    pixels = np.stack([picture(60, 90, seed=n) + 500 * n for n in range(9)])
    found = segment(
        Counted(pixels, (1, 60, 90)),
        tiny_model,
        axes="ZYX",
        options=SegmentOptions(overview=pixels[::2, ::2, ::2], floats=True),
    )
    whole = segment(pixels, tiny_model, axes="ZYX", options=SegmentOptions(floats=True))
    even = abs(found.values - whole.values)[:, :, ::2]  # those that the overview has, too
    assert found.reached.all()
    assert even.max() <= 0.05
