"""Instances found tile by tile are those that are found in one piece."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_unetpp.evaluation.metrics import InstanceCounts
from napari_unetpp.inference import instance_tiles
from napari_unetpp.inference.instance_tiles import separate_by_tiles, separate_lazily
from napari_unetpp.inference.instances import separate
from napari_unetpp.inference.layout import Layout


def blobs(shape, seed, *, longest, classes=1):
    """A mask of smooth shapes, many of which touch; none is longer than asked for."""
    rng = np.random.default_rng(seed)
    heights = ndimage.gaussian_filter(rng.random(shape), rng.uniform(1.5, 4))
    mask = (heights > np.quantile(heights, rng.uniform(0.6, 0.85))).astype(np.uint8)
    mask *= rng.integers(1, classes, mask.shape, np.uint8, endpoint=True) if classes > 1 else 1
    for value in range(1, classes + 1):
        pieces, _ = ndimage.label(mask == value)
        for number, place in enumerate(ndimage.find_objects(pieces), start=1):
            if max(part.stop - part.start for part in place) > longest:
                mask[pieces == number] = 0
    return mask


def by_tiles(mask, *, tile, border, last=0):
    """All of a mask, tile by tile; each pixel must be given once."""
    found, times = np.zeros(mask.shape, np.int32), np.zeros(mask.shape, int)
    region = tuple(slice(0, n) for n in mask.shape)
    for part, labels in separate_by_tiles(
        lambda wanted: mask[wanted], region, last=last, tile=tile, border=border
    ):
        found[part] = labels
        times[part] += 1
    assert (times == 1).all()
    return found


def assert_same(found, expected):
    """Equal but for the numbers."""
    np.testing.assert_array_equal(found > 0, expected > 0)
    pairs = np.unique(np.stack([found[found > 0], expected[found > 0]]), axis=1)
    for numbers in pairs:
        assert len(np.unique(numbers)) == pairs.shape[1]


@given(seed=st.integers(0, 10_000), tile=st.sampled_from([24, 40, 70]), classes=st.integers(1, 2))
def test_objects_smaller_than_the_border_come_out_as_in_one_piece(seed, tile, classes):
    mask = blobs((131, 190), seed, longest=38, classes=classes)
    assert_same(by_tiles(mask, tile=tile, border=48), separate(mask))


@pytest.mark.parametrize("seed", range(3))
def test_so_do_those_of_volumes(seed):
    mask = blobs((30, 51, 62), seed, longest=20)
    assert_same(by_tiles(mask, tile=24, border=30), separate(mask, dims=3))


def test_a_bar_over_many_tiles_stays_one():
    mask = np.zeros((90, 300), np.uint8)
    mask[37:52, 5:290] = 1
    found = by_tiles(mask, tile=48, border=20)
    assert set(np.unique(found)) == {0, 1}


def test_tissue_that_is_all_one_piece_comes_apart_at_the_same_necks():
    y, x = np.mgrid[:150, :210]
    mask = ((y % 20 - 10) ** 2 + (x % 20 - 10) ** 2 <= 105).astype(np.uint8)  # discs that touch
    assert ndimage.label(mask)[1] == 1
    found, expected = by_tiles(mask, tile=64, border=48), separate(mask)
    assert len(np.unique(found)) == len(np.unique(expected)) == 1 + 8 * 11
    counts = InstanceCounts.of(found, expected, threshold=0.9)
    assert counts.f1 == 1


def test_numbers_go_on_after_those_that_are_given():
    mask = blobs((80, 110), 0, longest=38)
    found = by_tiles(mask, tile=None, border=None, last=7)
    assert set(np.unique(found)) == {0, *range(8, 8 + separate(mask).max())}
    found = by_tiles(mask, tile=40, border=48, last=7)
    assert set(np.unique(found)) == {0, *range(8, 8 + separate(mask).max())}


def test_an_image_with_several_large_planes_is_numbered_on(monkeypatch):
    monkeypatch.setattr(instance_tiles, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(instance_tiles, "TILE", {2: 40})
    monkeypatch.setattr(instance_tiles, "BORDER", {2: 48})
    stack = np.stack([blobs((80, 110), seed, longest=38) for seed in range(2)], axis=-1)
    found = np.asarray(separate_lazily(stack, Layout.of(stack, "YXT"))[...])
    numbers = [set(np.unique(found[..., t])) - {0} for t in range(2)]
    assert not numbers[0] & numbers[1]
    for t in range(2):
        assert_same(found[..., t], separate(stack[..., t]))
