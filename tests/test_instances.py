"""Touching objects come apart, and nothing but specks is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from napari_unetpp.inference.instances import SMALLEST, separate


def discs(*centres: tuple[float, float], shape=(40, 64), radius=9) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.any([np.hypot(y - a, x - b) <= radius for a, b in centres], axis=0)


def without_specks(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, pieces, range(count + 1))
    return mask & (sizes >= SMALLEST)[pieces]


def test_touching_discs_come_apart():
    instances = separate(discs((18, 16), (18, 32), (20, 50)))
    assert instances.dtype == np.int32
    assert len({instances[18, 16], instances[18, 32], instances[20, 50]}) == 3
    assert set(np.unique(instances)) == {0, 1, 2, 3}


def bar(width: float, length: float, angle: float, centre=(60.0, 60.0)) -> np.ndarray:
    y, x = np.mgrid[:120, :120]
    y, x = y - centre[0], x - centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (abs(along) <= length / 2) & (abs(across) <= width / 2)


@pytest.mark.parametrize("degrees", range(0, 180, 15))
@pytest.mark.parametrize(("width", "length"), [(4, 40), (9, 60), (15, 55), (15, 90)])
def test_a_bar_stays_one(width, length, degrees):
    rng = np.random.default_rng(degrees)
    for _ in range(3):
        centre = rng.uniform(59.5, 60.5, 2)
        assert separate(bar(width, length, np.deg2rad(degrees), centre)).max() == 1


@pytest.mark.parametrize("degrees", range(0, 360, 24))
@pytest.mark.parametrize("radius", [6, 9, 15])
def test_overlapping_discs_come_apart(radius, degrees):
    step = 1.6 * radius  # between centres: they overlap by a fifth of their width
    dy, dx = step * np.sin(np.deg2rad(degrees)), step * np.cos(np.deg2rad(degrees))
    for count in (2, 3):
        first = -(count - 1) / 2
        centres = [(60 + (first + n) * dy, 60 + (first + n) * dx) for n in range(count)]
        instances = separate(discs(*centres, shape=(120, 120), radius=radius))
        assert instances.max() == count
        found = [instances[round(a), round(b)] for a, b in centres]
        assert set(found) == set(range(1, count + 1))
        sizes = np.bincount(instances.ravel())[1:]
        assert sizes.min() > 0.7 * sizes.max()


@pytest.mark.parametrize(("outer", "inner"), [(14, 8), (20, 14), (18, 4)])
def test_a_ring_stays_one(outer, inner):
    ring = discs((30, 30), shape=(60, 60), radius=outer)
    ring &= ~discs((30, 30), shape=(60, 60), radius=inner)
    np.testing.assert_array_equal(separate(ring), ring)


@pytest.mark.parametrize("centre", [(0, 30), (39, 30), (20, 0), (20, 63), (0, 0), (-5, 30)])
def test_a_disc_cut_by_the_border_stays_one(centre):
    mask = discs(centre, radius=12)
    np.testing.assert_array_equal(separate(mask), mask)


def test_specks_are_dropped():
    mask = discs((18, 30))
    mask[1, 1:SMALLEST] = True  # one pixel too few
    mask[38, 1 : SMALLEST + 1] = True
    instances = separate(mask)
    assert not instances[1].any()
    assert instances[38].any()
    assert instances.max() == 2


def test_one_disc_stays_one():
    assert separate(discs((18, 30), radius=14)).max() == 1


@given(arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 31)), elements=st.booleans()))
def test_nothing_but_specks_is_lost(noise):
    mask = np.kron(noise, np.ones((2, 3), bool))
    instances = separate(mask)
    np.testing.assert_array_equal(instances > 0, without_specks(mask))
    assert set(np.unique(instances)) - {0} == set(range(1, instances.max() + 1))
    for n in range(1, instances.max() + 1):
        assert ndimage.label(instances == n)[1] == 1


@pytest.mark.parametrize("shape", [(32, 48), (1, 48), (48, 1), (1, 1), (0, 5)])
@pytest.mark.parametrize("value", [0, 1])
def test_full_and_empty_planes(shape, value):
    mask = np.full(shape, value, np.uint8)
    large = value == 1 and mask.size >= SMALLEST
    np.testing.assert_array_equal(separate(mask), np.full(shape, large))


def test_planes_and_classes_are_separated_one_by_one():
    mask = np.zeros((2, 2, 40, 64), np.uint8)
    mask[0, 1] = discs((18, 16))
    mask[1, 0] = 2 * discs((18, 16))
    mask[1, 0][discs((18, 28))] = 1  # two classes that touch
    instances = separate(mask)
    assert instances.max() == 3
    for n in (1, 2, 3):
        planes = np.unique(np.argwhere(instances == n)[:, :2], axis=0)
        assert len(planes) == 1
        assert len(np.unique(mask[instances == n])) == 1
