"""Intensities become the same numbers however they were stored and cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_unetpp.errors import UserError
from napari_unetpp.inference.normalise import SAMPLED_PIXELS, Intensities, find_limits, normalise
from napari_unetpp.models import Normalisation

DARK = Normalisation(background="dark")
REAL = ["?", "u1", "i2", ">u2", "u4", "i8", "f2", "f4", ">f4", "f8", ">f8"]


def blobs(dtype: str = "f8") -> np.ndarray:
    """A dark image with a bright, uneven object; values from 0 to 200, or both of bool."""
    y, x = np.mgrid[:32, :48]
    bump = 200 * np.exp(-((y - 14) ** 2 + (x - 30) ** 2) / 40)
    return bump > 100 if dtype == "?" else np.rint(bump).astype(dtype)


def through(plane: np.ndarray, how: Normalisation | None = None) -> np.ndarray:
    return normalise(plane, find_limits(plane, how or Normalisation()))


@pytest.mark.parametrize("dtype", REAL)
def test_every_real_dtype_gives_the_same(dtype):
    result = through(blobs(dtype))
    assert result.dtype == np.float32
    wanted = through(blobs(dtype).astype(np.float64))
    np.testing.assert_allclose(result, wanted, atol=2e-3 if dtype == "f2" else 1e-6)
    assert result[14, 30] == 1


@given(st.floats(0.01, 1e4), st.floats(-1e4, 1e4))
def test_brightness_and_contrast_make_no_difference(factor, offset):
    np.testing.assert_allclose(through(blobs() * factor + offset), through(blobs()), atol=1e-6)


def test_twelve_bits_in_sixteen():
    image = (blobs() * 20).astype(np.uint16)
    np.testing.assert_allclose(through(image), through(image << 4), atol=1e-6)


def test_large_integers_keep_their_low_bits():
    image = blobs("u4")
    np.testing.assert_allclose(through(image + 2**31), through(image), atol=1e-6)


@given(
    arrays(
        st.sampled_from([np.float32, np.uint16, np.int8, np.float16]),
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
    ),
    st.sampled_from(["auto", "dark", "bright"]),
)
def test_the_result_is_in_range_and_the_same_for_any_tile(image, background):
    with np.errstate(over="ignore"):  # 3e38 - -3e38
        limits = find_limits(image, Normalisation(background=background))
        whole = normalise(image, limits)
        assert np.isfinite(whole).all()
        assert whole.min() >= 0
        assert whole.max() <= 1
        tile = slice(image.shape[0] // 3, None), slice(None, image.shape[1] // 2 + 1)
        np.testing.assert_array_equal(normalise(image[tile], limits), whole[tile])


def test_nan_and_infinity_are_background_and_change_nothing_else():
    image = blobs()
    holes = np.zeros(image.shape, bool)
    holes[2, 5:8] = True
    broken = image.copy()
    broken[holes] = [np.nan, np.inf, -np.inf]
    np.testing.assert_allclose(through(broken)[~holes], through(image)[~holes], atol=2e-3)
    assert not through(broken)[holes].any()
    assert not through(200 - broken)[holes].any()  # on a bright background, too


@pytest.mark.parametrize("value", [0, 7.5, -3, np.nan, np.inf])
def test_no_contrast_is_all_background(value):
    assert not through(np.full((5, 9), value)).any()
    assert not through(np.full((1, 1), value)).any()


def test_few_bright_pixels_on_nothing_are_seen():
    image = np.zeros((100, 120), np.uint16)
    image[40:43, 50:53] = 500  # fewer than the 0.2 % above the high percentile
    assert through(image)[41, 51] == 1


def test_one_enormous_value_is_bright_and_harms_nothing():
    image = blobs()
    image[0, 0] = 1e300
    assert through(image)[0, 0] == 1
    np.testing.assert_allclose(through(image)[1:], through(blobs())[1:], atol=5e-3)


def test_a_bright_background_is_turned_dark():
    even = Normalisation(low=1, high=99)
    np.testing.assert_allclose(through(255 - blobs(), even), through(blobs(), even), atol=1e-6)
    assert through(blobs(), Normalisation(background="bright"))[0, 0] == 1
    assert through(255 - blobs(), DARK)[0, 0] == 1


def test_dim_objects_beside_a_bright_one_reach_the_middle():
    image = np.random.default_rng(0).normal(5, 1, (60, 80))
    image[10:30, 10:30] += 40
    image[40:45, 40:60] += 195
    plain = through(image, Normalisation(gamma="none"))
    bent = through(image, Normalisation(gamma="otsu"))
    assert plain[20, 20] < 0.3
    assert bent[20, 20] > 0.4
    assert bent[5, 70] < 0.3
    order = np.argsort(plain, axis=None)
    assert (np.diff(bent.ravel()[order]) >= 0).all()


def test_limits_of_a_large_plane_are_sampled_well():
    plane = np.random.default_rng(0).integers(0, 1000, (3000, 4100), np.uint16)
    assert plane.size > 2 * SAMPLED_PIXELS
    limits = find_limits(plane, Normalisation())
    low, high = np.percentile(plane, [1, 99.8])
    assert (limits.low, limits.high) == pytest.approx((low, high), abs=2)


def test_complex_is_refused():
    with pytest.raises(UserError, match="complex"):
        find_limits(blobs().astype(complex), Normalisation())


@pytest.mark.parametrize("limits", [(5, 5), (90, 10), (-1, 50), (0, 101)])
def test_percentiles_out_of_order_are_refused(limits):
    with pytest.raises(ValueError, match=r"percentile|greater|less"):
        Normalisation(low=limits[0], high=limits[1])


@pytest.mark.parametrize(
    ("share", "objects", "background", "of_grey", "of_colour"),
    [
        (0.2, 130, 220, True, True),  # a section
        (0.55, 130, 220, False, True),  # a dense one
        (0.1, 220, 20, False, False),  # fluorescence
    ],
)
def test_dense_tissue_is_on_a_bright_background_and_fluorescence_is_not(
    share, objects, background, of_grey, of_colour
):
    """A stain takes light away: half covered, a colour image is one of bright background."""
    covered = np.arange(40 * 60).reshape(40, 60) < share * 40 * 60
    noise = np.random.default_rng(0).normal(0, 40, covered.shape)
    plane = np.clip(np.where(covered, objects, background) + noise, 0, None)
    for colour, expected in ((False, of_grey), (True, of_colour)):
        assert find_limits(plane, Normalisation(), colour=colour).inverted == expected
        dark = find_limits(plane, Normalisation(background="dark"), colour=colour)
        assert not dark.inverted


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (37, 53)])
def test_counted_intensities_have_the_percentiles_of_sorted_ones(dtype, size):
    rng = np.random.default_rng(1)
    plane = (rng.gamma(2, 9, size) - 12).clip(np.iinfo(dtype).min, 100).astype(dtype)
    wanted = [0.0, 1.0, 37.3, 50.0, 99.8, 100.0]
    sample = Intensities.of(plane)
    assert sample.size == plane.size
    np.testing.assert_allclose(
        sample.percentiles(wanted), np.percentile(plane, wanted), rtol=1e-12, atol=1e-12
    )
    as_floats = find_limits(plane.astype(np.float32), Normalisation())
    found = find_limits(plane, Normalisation())
    np.testing.assert_allclose(
        (found.low, found.high, found.gamma),
        (as_floats.low, as_floats.high, as_floats.gamma),
        rtol=1e-6,
    )
    assert found.inverted == as_floats.inverted
