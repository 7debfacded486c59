"""Several images as one: read lazily, they are what numpy would stack or average."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.inference.merged import MeanImage, StackedImages
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment

SHAPE = (3, 17, 29)


def pictures(dtypes=(np.uint16, np.int16, np.float32)):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 1000, SHAPE).astype(dtype) for dtype in dtypes]


@st.composite
def keys(draw, shape):
    key = []
    for n in shape:
        start = draw(st.integers(0, n - 1))
        part = slice(start, draw(st.integers(start + 1, n)))
        key.append(draw(st.sampled_from([start, part, slice(None)])))
    return tuple(key)


@given(keys((3, *SHAPE)))
def test_a_stack_is_that_of_numpy(key):
    whole = np.stack(pictures())
    stacked = StackedImages(pictures())
    assert stacked.shape == whole.shape
    assert stacked.dtype == whole.dtype
    np.testing.assert_array_equal(stacked[key], whole[key])
    assert stacked[key].dtype == whole.dtype


@given(keys(SHAPE))
def test_a_mean_is_weighted(key):
    weights = (1.0, 3.0, 0.5)
    mean = MeanImage(pictures(), weights)
    wanted = np.average(np.stack(pictures()).astype(float), axis=0, weights=weights)
    np.testing.assert_allclose(mean[key], wanted[key], rtol=1e-5)
    assert mean.dtype == np.float32


@pytest.mark.usefixtures("fp32")
def test_lazy_ones_are_read_chunk_by_chunk_and_give_what_the_whole_gives(make_model, monkeypatch):
    monkeypatch.setattr("napari_unetpp.inference.reading.WHOLE_PIXELS", 0)
    read = []

    def noted(block, block_info):
        read.append(tuple(block_info[0]["chunk-location"]))
        return block

    pixels = np.random.default_rng(0).integers(0, 1000, (2, 150, 280), np.uint16)
    lazy = da.from_array(pixels[0], chunks=(75, 70)).map_blocks(noted, dtype=np.uint16)
    read.clear()
    model = make_model(in_channels=2)
    options = SegmentOptions(tile=160)
    image = StackedImages([lazy, pixels[1]])
    assert image.chunks == (1, 75, 70)
    found = segment(image, model, axes="CYX", options=options)
    assert len(read) == len(set(read)) == 8  # each chunk once
    whole = segment(da.from_array(pixels, chunks=(1, 75, 70)), model, axes="CYX", options=options)
    np.testing.assert_array_equal(found.values, whole.values)


def test_images_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="can't be merged"):
        StackedImages([np.zeros((3, 4)), np.zeros((4, 3))])


def test_a_mean_of_complex_images_stays_complex_and_so_is_refused_later():
    assert MeanImage([np.zeros((3, 4)), np.zeros((3, 4), complex)], (1, 1)).dtype == complex
