"""Volumes: the same path as planes, in three dimensions and on a grid of the model's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.errors import UserError
from napari_unetpp.inference import devices
from napari_unetpp.inference.grid import Grid
from napari_unetpp.inference.normalise import find_limits, normalise
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment, segment_tiles

FLOATS = SegmentOptions(floats=True)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model(dims=3, widths=(4, 6, 8))


def volume(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random(shape) * np.linspace(1, 3, shape[-1]) * 1000).astype(np.uint16)


@pytest.mark.usefixtures("fp32")
def test_the_heads_are_those_of_the_network(model):
    image = volume(9, 20, 27)
    heads = segment(image, model, axes="ZYX", options=FLOATS)
    assert heads.probabilities.shape == (2, 9, 20, 27)
    seen = normalise(image, find_limits(image, model.spec.normalisation))
    with torch.inference_mode():
        wanted = model.network.eval()(torch.from_numpy(seen)[None, None])
    for found, logits in zip(heads.probabilities, wanted, strict=True):
        np.testing.assert_allclose(found, logits[0, 0].sigmoid().numpy(), atol=1e-4)


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("shape", [(40, 70, 90), (33, 34, 101)])
def test_tiles_make_no_difference(model, shape):
    image = volume(*shape)
    whole = segment(image, model, axes="ZYX", options=dataclasses.replace(FLOATS, tile=128))
    tiled = segment(image, model, axes="ZYX", options=dataclasses.replace(FLOATS, tile=48))
    assert abs(whole.values - tiled.values).max() <= 0.02


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("axes", ["XZY", "ZTYX", "CTZYX", "YXZC"])
def test_the_order_of_the_axes_makes_no_difference(model, axes):
    usual = "".join(sorted(axes, key="TCZYX".index))
    lengths = {"T": 2, "C": 2, "Z": 10, "Y": 27, "X": 44}
    image = volume(*(lengths[a] for a in usual))
    options = dataclasses.replace(FLOATS, channels=(1,) if "C" in axes else None)
    wanted = segment(image, model, axes=usual, options=options)
    turned = image.transpose([usual.index(a) for a in axes])
    found = segment(turned, model, axes=axes, options=options)
    assert found.axes == axes.replace("C", "")
    order = [0, *(1 + wanted.axes.index(a) for a in found.axes)]
    np.testing.assert_allclose(
        found.probabilities, wanted.probabilities.transpose(order), atol=1e-5
    )


def test_a_plane_is_refused(model):
    with pytest.raises(UserError, match="for volumes, and the image has no Z"):
        segment_tiles(np.zeros((8, 9)), model)


@pytest.mark.parametrize("size", [(0, 1, 1), (1, float("inf"), 1), (1, 1, float("nan"))])
def test_a_voxel_without_a_length_is_refused(model, size):
    with pytest.raises(UserError, match="µm long; lengths are above 0"):
        segment_tiles(volume(4, 8, 9), model, options=SegmentOptions(pixel_size=size))


def test_a_stack_of_one_plane_is_segmented(model, monkeypatch):
    found = {}
    for has_bf16 in (False, True):
        monkeypatch.setattr(devices, "_cpu_has_bf16", lambda has=has_bf16: has)
        found[has_bf16] = segment(volume(1, 20, 27), model, axes="ZYX", options=FLOATS)
        assert (found[has_bf16].reached == 2).all()
    differences = abs(found[True].probabilities - found[False].probabilities)
    assert differences.max() < 0.04  # and what lay in memory beside the plane isn't seen


@pytest.mark.usefixtures("fp32")
def test_an_anisotropic_stack_is_brought_to_the_size_of_the_model(make_model):
    """What is seen at the model's own size, and what is seen coarsely, are found at one place."""
    model = make_model(dims=3, widths=(4, 6, 8), voxel_size=(0.5, 0.5, 0.5))
    z, y, x = np.indices((24, 40, 52))
    fine = np.sin(z / 5) + np.cos(y / 6) + np.sin(x / 7)
    coarse = fine.reshape(12, 2, 40, 52).mean(1)
    options = dataclasses.replace(FLOATS, pixel_size=(0.5, 0.5, 0.5))
    wanted = segment(fine, model, axes="ZYX", options=options).probabilities
    options = dataclasses.replace(FLOATS, pixel_size=(1.0, 0.5, 0.5))
    found = segment(coarse, model, axes="ZYX", options=options)
    assert found.probabilities.shape == (2, 12, 40, 52)
    assert (found.reached == 2).all()
    inner = (slice(None), slice(2, -2), slice(4, -4), slice(4, -4))
    expected = wanted.reshape(2, 12, 2, 40, 52).mean(2)
    assert np.ptp(expected[inner]) > 10 * abs(found.probabilities - expected)[inner].mean()


@pytest.mark.usefixtures("fp32")
def test_tiles_make_no_difference_on_a_grid_of_the_models_own(make_model):
    model = make_model(dims=3, widths=(4, 6, 8), voxel_size=(0.5, 0.5, 0.5))
    image = volume(14, 50, 61)
    options = dataclasses.replace(FLOATS, pixel_size=(1.3, 0.6, 0.4), tile=160)
    whole = segment(image, model, axes="ZYX", options=options)
    tiled = segment(image, model, axes="ZYX", options=dataclasses.replace(options, tile=48))
    assert (tiled.reached == 2).all()
    assert abs(whole.values - tiled.values).max() <= 0.02


@given(st.data())
def test_tiles_of_the_networks_grid_fill_the_image_without_a_gap(data):
    shape = tuple(data.draw(st.integers(1, 40)) for _ in range(2))
    factors = tuple(data.draw(st.floats(0.2, 5)) for _ in range(2))
    grid = Grid(shape, factors)
    count = np.zeros(shape, int)
    cuts = [sorted({0, n, *(data.draw(st.integers(0, n)) for _ in range(2))}) for n in grid.shape]
    for top, bottom in zip(cuts[0][:-1], cuts[0][1:], strict=True):
        for left, right in zip(cuts[1][:-1], cuts[1][1:], strict=True):
            region = (slice(top, bottom), slice(left, right))
            count[grid.filled(region)] += 1
            source = grid.of_image(region)
            seen = grid.to_network(np.ones((1, *shape))[(slice(None), *source)], source, region)
            assert seen.shape == (1, bottom - top, right - left)
            np.testing.assert_allclose(seen, 1, rtol=1e-5)
            back = grid.to_image(seen, region, grid.filled(region))
            np.testing.assert_allclose(back, 1, rtol=1e-5)
    assert (count == 1).all()
