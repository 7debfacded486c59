"""Measures of uncertainty are judged by what they find."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.evaluation.uncertainty import Uncertainty, by_places
from napari_unetpp.inference.uncertain import entropy


def pairs_won(values, wrong):
    """How often a wrong pixel is less sure than a right one, pair by pair."""
    bad, good = values[wrong][:, None], values[~wrong][None]
    return float(np.mean((bad > good) + 0.5 * (bad == good)))


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_the_area_is_that_of_all_pairs(seed, count):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, count) * 51 / 255
    wrong = rng.random(count) < 0.4
    wrong[:2] = True, False
    assert Uncertainty.of(values, wrong).area == pytest.approx(pairs_won(values, wrong))


def test_images_add_up():
    rng = np.random.default_rng(0)
    values, wrong = rng.random((30, 44)), rng.random((30, 44)) < 0.2
    halves = Uncertainty.of(values[:9], wrong[:9]) + Uncertainty.of(values[9:], wrong[9:])
    whole = Uncertainty.of(values, wrong)
    np.testing.assert_array_equal(halves.pixels, whole.pixels)
    np.testing.assert_array_equal(halves.wrong, whole.wrong)


def test_a_measure_that_knows_finds_all_first():
    wrong = np.zeros((20, 30), bool)
    wrong[:2] = True
    known = Uncertainty.of(wrong.astype(float), wrong)
    assert known.area == 1
    assert known.found(0.1) == 1
    assert known.found(0.05) == pytest.approx(0.5)
    rows = known.reliability(10)
    assert rows[0][1:] == (0, 540)
    assert rows[-1][1:] == (1, 60)
    assert np.isnan(Uncertainty.of(wrong.astype(float), np.zeros_like(wrong)).area)


def test_entropy_is_highest_in_the_middle():
    np.testing.assert_allclose(entropy(np.array([0, 0.5, 1, 0.11])), [0, 1, 0, 0.5], atol=1e-3)


def test_places_are_means_also_at_the_border():
    values = np.arange(5 * 7, dtype=float).reshape(5, 7)
    places = by_places(values, 4)
    assert places.shape == (2, 2)
    assert places[0, 0] == values[:4, :4].mean()
    assert places[1, 1] == values[4:, 4:].mean()
