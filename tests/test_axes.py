"""Axes strings: guessed, checked, and used to take an image apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.errors import UserError
from napari_unetpp.inference.axes import LETTERS, check_axes, guess_axes
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.inference.layout import Layout

LENGTHS = {"T": 2, "Z": 3, "C": 4, "Y": 5, "X": 7}

axes_strings = st.permutations(LETTERS).flatmap(
    lambda order: st.sets(st.sampled_from("TZC")).map(
        lambda kept: "".join(a for a in order if a in kept or a in "YX")
    )
)


def numbered(axes: str) -> np.ndarray:
    """An image whose values say where each pixel is, whatever the order of the axes."""
    places = np.indices([LENGTHS[a] for a in axes])
    return sum(places[axes.index(a)] * 10 ** LETTERS.index(a) for a in axes)


@given(axes_strings)
def test_axes_are_read_whatever_their_case_and_order(axes):
    shape = [LENGTHS[a] for a in axes]
    assert check_axes(f" {axes.lower()} ", shape) == axes


@pytest.mark.parametrize(
    ("axes", "shape", "words"),
    [
        ("YXQ", (4, 5, 6), "unknown letter 'Q'"),
        ("Y X", (4, 5), "unknown letter ' '"),
        ("YYX", (4, 5, 6), "Y twice"),
        ("ZY", (4, 5), "lack Y or X"),
        ("", (4, 5), "lack Y or X"),
        ("YX", (4, 5, 6), "name 2 axes, but the image has 3"),
        ("ZYX", (4, 5), "name 3 axes, but the image has 2"),
    ],
)
def test_axes_that_do_not_fit_are_refused(axes, shape, words):
    with pytest.raises(UserError, match=words):
        check_axes(axes, shape)


@pytest.mark.parametrize(
    ("shape", "options", "axes"),
    [
        ((40, 50), {}, "YX"),
        ((9, 40, 50), {}, "ZYX"),
        ((40, 50, 3), {}, "YXC"),
        ((40, 50, 4), {}, "YXC"),
        ((40, 50, 5), {"rgb": False}, "ZYX"),
        ((3, 40, 50), {}, "ZYX"),  # three planes are no colours
        ((3, 50, 3), {}, "ZYX"),
        ((40, 50, 3), {"rgb": True}, "YXC"),
        ((9, 40, 50, 3), {"rgb": True}, "ZYXC"),
        ((2, 9, 40, 50), {}, "TZYX"),
        ((2, 9, 3, 40, 50), {}, "TZCYX"),
        ((9, 40, 50), {"labels": ("t", "y", "x")}, "TYX"),
        ((9, 40, 50), {"labels": ("c", "y", "x")}, "CYX"),
        ((9, 40, 50), {"labels": ("axis -3", "axis -2", "axis -1")}, "ZYX"),
        ((9, 40, 50), {"labels": ("y", "x")}, "ZYX"),  # names that don't fit say nothing
        ((9, 40, 50, 3), {"rgb": True, "labels": ("t", "y", "x")}, "TYXC"),
    ],
)
def test_guess(shape, options, axes):
    assert guess_axes(shape, **options) == axes


@pytest.mark.parametrize("shape", [(), (5,), (1, 1, 1, 1, 4, 5)])
def test_no_guess_for_what_is_no_image(shape):
    with pytest.raises(UserError, match="an image has Y and X"):
        guess_axes(shape)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 4, 5)])
def test_an_image_without_pixels_is_refused(shape):
    with pytest.raises(UserError, match="no pixels"):
        Layout.of(np.zeros(shape))


@given(axes_strings)
def test_every_plane_is_taken_once_and_right_way_up(axes):
    image = numbered(axes)
    layout = Layout.of(image, axes)
    result = np.full(layout.result_shape, -1)
    for index in layout.indices():
        plane = layout.take(image, index)
        assert plane.shape == (layout.channels, LENGTHS["Y"], LENGTHS["X"])
        place = dict(zip(layout.outer_axes, index, strict=True))
        place = {**place, "C": np.arange(layout.channels)[:, None, None] if "C" in axes else 0}
        place |= {"Y": np.arange(5)[:, None], "X": np.arange(7)}
        wanted = sum(place[a] * 10 ** LETTERS.index(a) for a in axes)
        np.testing.assert_array_equal(plane, np.broadcast_to(wanted, plane.shape))
        layout.result_part(result, index)[...] = plane[0]
    np.testing.assert_array_equal(result, image.take(0, axes.index("C")) if "C" in axes else image)


@pytest.mark.parametrize(
    ("shape", "axes", "in_channels", "channels", "wanted"),
    [
        ((5, 7), "YX", 1, None, 1),
        ((5, 7, 3), "YXC", 1, None, 1),  # grey from colour
        ((5, 7, 4), "YXC", 1, None, 1),
        ((2, 5, 7), "CYX", 1, [1], 1),
        ((4, 5, 7), "CYX", 2, [3, 0], 2),
        ((5, 7, 3), "YXC", 3, None, 3),
        ((5, 7, 4), "YXC", 3, None, 3),  # alpha is no colour
        ((5, 7, 4), "YXC", 4, None, 4),
        ((2, 5, 7), "CYX", 2, None, 2),
    ],
)
def test_a_model_gets_the_channels_that_it_takes(shape, axes, in_channels, channels, wanted):
    image = np.random.default_rng(0).random(shape)
    layout = Layout.of(image, axes)
    mixed = channels_for(layout, in_channels, channels)(layout.take(image, ()))
    assert mixed.shape == (wanted, 5, 7)
    if channels is not None:
        np.testing.assert_array_equal(mixed, image[channels])


def test_grey_does_not_see_alpha():
    rgba = np.random.default_rng(0).integers(0, 255, (5, 7, 4), np.uint8)
    layout = Layout.of(rgba, "YXC")
    grey = channels_for(layout, 1)(layout.take(rgba, ()))
    np.testing.assert_allclose(grey[0], rgba[..., :3] @ [0.299, 0.587, 0.114], rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axes", "in_channels", "channels", "words"),
    [
        ((3, 5, 7), "CYX", 1, None, "choose one of its channels"),
        ((5, 7, 2), "YXC", 1, None, "choose one of its channels"),
        ((5, 7), "YX", 3, None, "choose another model or image"),
        ((2, 5, 7), "CYX", 3, None, "choose another model or image"),
        ((4, 5, 7), "CYX", 3, None, "choose which of them it sees"),
        ((4, 5, 7), "CYX", 3, [0, 1], "2 channels are chosen and the model takes 3"),
        ((2, 5, 7), "CYX", 1, [2], "no channel 2"),
        ((2, 5, 7), "CYX", 1, [-1], "no channel -1"),
        ((5, 7), "YX", 1, [1], "no channel 1"),
    ],
)
def test_channels_that_do_not_fit_are_refused(shape, axes, in_channels, channels, words):
    with pytest.raises(UserError, match=words):
        channels_for(Layout.of(np.zeros(shape), axes), in_channels, channels)
