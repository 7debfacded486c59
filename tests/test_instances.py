"""Touching objects come apart, and nothing but specks is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from napari_unetpp.inference.instances import SMALLEST, separate


def discs(*centres: tuple[int, int], shape=(40, 64), radius=9) -> np.ndarray:
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
    np.testing.assert_array_equal(separate(mask) > 0, np.full(shape, large))


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
