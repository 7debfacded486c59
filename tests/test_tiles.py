"""Tiles cover the plane, meet where the network's grids meet, and blend without a seam."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.inference.tiles import (
    best_sides,
    blend,
    halo,
    nearest_first,
    overlap_for,
    plan_tiles,
)
from napari_unetpp.network import UNetPlusPlus

lengths = st.integers(1, 700)
strides = st.sampled_from([2, 4, 8, 16])


@st.composite
def regions(draw):
    starts = draw(st.tuples(st.integers(0, 300), st.integers(0, 300)))
    return tuple(slice(start, start + draw(lengths)) for start in starts)


def counts(tiles, shape):
    count = np.zeros(shape, int)
    for tile in tiles:
        count[tile.region] += 1
    return count


@given(regions(), st.integers(64, 300), st.integers(0, 130), strides)
def test_every_pixel_is_covered_and_nothing_beyond(region, tile, overlap, stride):
    tiles = plan_tiles(region, tile=tile, overlap=overlap, stride=stride)
    stop = tuple(part.stop for part in region)
    count = counts(tiles, stop)
    assert (count[region] > 0).all()
    # Before the region at most what the grid asks for; after it nothing at all.
    outside = tuple(slice(0, part.start - part.start % stride) for part in region)
    assert not count[outside[0]].any()
    assert not count[:, outside[1]].any()
    assert all(t.region[n].stop <= stop[n] for t in tiles for n in (0, 1))


@given(regions(), st.integers(64, 300), st.integers(0, 130), strides)
def test_tiles_start_on_the_grid_and_are_not_too_large(region, tile, overlap, stride):
    for planned in plan_tiles(region, tile=tile, overlap=overlap, stride=stride):
        for part in planned.region:
            assert part.start % stride == 0
            assert 0 < part.stop - part.start <= tile


@given(lengths, st.integers(64, 300), st.integers(0, 130), strides)
def test_neighbours_overlap_by_what_was_asked_where_it_fits(length, tile, overlap, stride):
    region = (slice(0, length), slice(0, 1))
    tiles = plan_tiles(region, tile=tile, overlap=overlap, stride=stride)
    wanted = min(overlap, tile // stride // 2 * stride)  # of small tiles half, or it never ends
    for before, after in pairwise(tiles):
        shared = before.region[0].stop - after.region[0].start
        assert shared >= wanted
        assert before.margins[0][1] == after.margins[0][0] == shared
    assert tiles[0].margins[0][0] == tiles[-1].margins[0][1] == 0


def test_what_fits_is_one_tile():
    (tile,) = plan_tiles((slice(0, 90), slice(0, 100)), tile=112, overlap=40, stride=16)
    assert tile.region == (slice(0, 90), slice(0, 100))
    assert (tile.weight() == 1).all()


def test_a_large_plane_costs_little_more_than_its_pixels():
    whole = (slice(0, 2048), slice(0, 2048))
    tiles = plan_tiles(whole, tile=1152, overlap=overlap_for(4), stride=16)
    computed = sum((t.region[0].stop - t.region[0].start) ** 2 for t in tiles)
    assert computed <= 1.35 * 2048**2


@given(regions(), st.integers(64, 300), st.integers(0, 130), strides)
def test_weights_are_positive_and_whole_where_no_neighbour_is(region, tile, overlap, stride):
    tiles = plan_tiles(region, tile=tile, overlap=overlap, stride=stride)
    count = counts(tiles, tuple(part.stop for part in region))
    for planned in tiles:
        weight = planned.weight()
        assert weight.dtype == np.float32
        assert (weight > 0).all()
        assert (weight <= 1).all()
        assert (weight[count[planned.region] == 1] == 1).all()


@given(
    st.integers(65, 200), st.integers(65, 200), st.integers(0, 60), st.permutations(list(range(9)))
)
def test_blending_is_the_weighted_mean_in_any_order(height, width, overlap, order):
    tiles = plan_tiles((slice(0, height), slice(0, width)), tile=64, overlap=overlap, stride=8)
    rng = np.random.default_rng(height)
    values = [rng.random(tile.weight().shape, np.float32) for tile in tiles]
    total, wanted = np.zeros((2, height, width))
    for tile, value in zip(tiles, values, strict=True):
        total[tile.region] += tile.weight()
        wanted[tile.region] += tile.weight() * value
    wanted /= total

    floats, bytes_ = np.zeros((height, width), np.float32), np.zeros((height, width), np.uint8)
    done = []
    for n in sorted(range(len(tiles)), key=lambda n: order[n % 9]):
        share = tiles[n].share(done)
        for into in (floats, bytes_):
            into[tiles[n].region] = blend(into[tiles[n].region], values[n], share)
        done.append(tiles[n])
    np.testing.assert_allclose(floats, wanted, atol=1e-5)
    assert abs(bytes_ / 255 - wanted).max() < 0.02


def test_nearest_first():
    tiles = plan_tiles((slice(0, 300), slice(0, 500)), tile=96, overlap=16, stride=16)
    assert nearest_first(tiles, None) == tiles
    ordered = nearest_first(tiles, (40, 400))
    assert sorted(map(repr, ordered)) == sorted(map(repr, tiles))
    assert ordered[0].region[0].start <= 40 < ordered[0].region[0].stop
    assert ordered[0].region[1].start <= 400 < ordered[0].region[1].stop


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_halo_is_how_far_the_side_of_a_tile_is_felt(depth):
    torch.manual_seed(0)
    network = UNetPlusPlus(widths=(3,) * (depth + 1)).double().requires_grad_(False)
    stride = 2**depth
    start, stop = 3 * stride, (5 + 2 * halo(depth) // stride) * stride  # on the grid, as tiles are
    x = torch.randn(1, 1, stop + 61, 16, dtype=torch.float64)
    whole = network(x)[-1][:, :, start:stop]
    part = network(x[:, :, start:stop])[-1]
    different = ((whole - part).abs().amax(dim=(0, 1, 3)) > 1e-12).nonzero().ravel()
    inside = (different >= halo(depth)) & (different < stop - start - halo(depth))
    assert not inside.any()
    assert int(different[different < halo(depth)].max()) == halo(depth) - 1


@given(
    st.lists(st.integers(1, 3000), min_size=2, max_size=3),
    st.integers(12, 64),
    st.sampled_from([0, 64, 176, 192]),
)
def test_the_best_sides_cover_all_in_as_much_memory_with_no_more_pixels(lengths, tile, overlap):
    tile *= 16
    sides = best_sides(lengths, tile=tile, overlap=overlap, stride=16)
    assert math.prod(sides) <= tile ** len(lengths)
    region = tuple(slice(0, n) for n in lengths)

    def computed(tile):
        tiles = plan_tiles(region, tile=tile, overlap=overlap, stride=16)
        return sum(math.prod(p.stop - p.start for p in t.region) for t in tiles)

    if len(lengths) == 2:  # tiles overlap by no less than asked
        assert all(s >= min(2 * overlap, n, tile) for s, n in zip(sides, lengths, strict=True))
    if math.prod(lengths) < 1e7:
        assert computed(sides) <= computed(tile) * 1.1  # what lies beyond the border isn't computed


def test_a_plane_is_cut_less_where_that_is_enough():
    overlap = overlap_for(4)
    sides = best_sides((2048, 2048), tile=960, overlap=overlap, stride=16)
    tiles = plan_tiles((slice(0, 2048), slice(0, 2048)), tile=sides, overlap=overlap, stride=16)
    computed = sum(math.prod(p.stop - p.start for p in t.region) for t in tiles)
    assert len(tiles) == 6
    assert computed / 2048**2 <= 1.3


def test_a_volume_is_cut_less_where_that_is_enough():
    sides = best_sides((96, 128, 147), tile=112, overlap=overlap_for(4, 3), stride=16)
    whole = (slice(0, 96), slice(0, 128), slice(0, 147))
    tiles = plan_tiles(whole, tile=sides, overlap=overlap_for(4, 3), stride=16)
    computed = sum(math.prod(p.stop - p.start for p in t.region) for t in tiles)
    assert computed / (96 * 128 * 147) <= 1.5


def test_tiles_are_no_larger_than_helps():
    sides = best_sides((2048, 2048), tile=1408, overlap=overlap_for(4), stride=16)
    assert sides == (1120, 1120)  # 2048 × 800 computes 2 % less, and takes a third more memory
