"""What is on screen is seen whole, by its shallowest head, before the deeper ones come."""

import dataclasses

import numpy as np
import pytest
from images import noise

from napari_unetpp.inference import engine, passes
from napari_unetpp.inference.grid import Grid
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.passes import Planner
from napari_unetpp.inference.predict import segment, segment_tiles

LOOK = (slice(30, 190), slice(40, 250))
OPTIONS = SegmentOptions(tile=128, first_look=LOOK, focus=(100, 150))


def looked_at(events):
    """The regions of the first look: what comes before any deeper head."""
    regions = []
    for event in events:
        if event.head != 1:
            break
        regions.append(event.region)
    return regions


def test_all_that_is_looked_at_comes_before_deeper_heads(tiny_model):
    heads, events = segment_tiles(noise(210, 260), tiny_model, options=OPTIONS)
    seen = np.zeros((210, 260), bool)
    for event in events:
        if event.head > 1:
            break
        seen[event.region] |= heads.values[0, 0][event.region] > 0
    assert seen[LOOK].all()
    assert heads.reached[LOOK].min() == 1
    # Nothing but the first tile of what follows, which has come by now, too.
    following = np.zeros_like(seen)
    following[event.region] = True
    outside = ~following
    outside[LOOK] = False
    assert not heads.values[0, 0][outside].any()


def test_the_result_is_the_same(tiny_model):
    image = noise(2, 210, 260)
    found = segment(image, tiny_model, options=OPTIONS)
    wanted = segment(image, tiny_model, options=dataclasses.replace(OPTIONS, first_look=None))
    np.testing.assert_array_equal(found.values, wanted.values)
    np.testing.assert_array_equal(found.reached, wanted.reached)


def test_the_work_adds_up_and_only_the_first_plane_is_looked_at(tiny_model):
    told = []
    image = noise(2, 210, 260)
    options = dataclasses.replace(OPTIONS, indices=[(1,), (0,)])
    segment(image, tiny_model, options=options, progress=told.append)
    fractions = [event.fraction for event in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    looks = looked_at(told)
    assert len(looks) > 1
    tiles = (len(told) - len(looks) + 1) // 3
    assert [event.index for event in told].count((1,)) == len(looks) - 1 + 3 * tiles // 2


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"tile": 512, "first_look": (slice(5, 205), slice(5, 255))}, 1 << 22),
        ({"depth": 1}, 1 << 22),
        ({"region": (slice(0, 30), slice(0, 30))}, 1 << 22),
        ({}, 1 << 10),
    ],
    ids=["one tile that is seen", "one head", "elsewhere", "too much"],
)
def test_there_is_none_where_it_would_not_come_sooner(tiny_model, monkeypatch, options, most):
    monkeypatch.setattr(passes, "LOOK_AT_MOST", most)
    options = dataclasses.replace(OPTIONS, **options)
    told, without = [], []
    segment(noise(210, 260), tiny_model, options=options, progress=told.append)
    options = dataclasses.replace(options, first_look=None)
    segment(noise(210, 260), tiny_model, options=options, progress=without.append)
    assert told == without


def test_there_is_none_where_a_head_is_seen_already(tiny_model):
    image = noise(210, 260)
    shallow = dataclasses.replace(OPTIONS, depth=1)
    room = segment(image, tiny_model, options=SegmentOptions(region=(slice(0, 8), slice(0, 8))))
    _, events = segment_tiles(image, tiny_model, options=shallow, into=room)
    list(events)  # a run to L1, in layers with room for all heads
    _, events = segment_tiles(image, tiny_model, options=OPTIONS, into=room)
    assert [event.head for event in events][:3] == [1, 2, 3]


def test_it_sees_what_lies_around_it(tiny_model):
    """So that it changes little when the deeper heads come."""
    image = noise(210, 260)
    heads, events = segment_tiles(image, tiny_model, options=OPTIONS)
    count = len(looked_at(segment_tiles(image, tiny_model, options=OPTIONS)[1]))
    for _ in range(count - 1):
        next(events)
    whole = segment(image, tiny_model, options=SegmentOptions(depth=1))
    difference = abs(heads.values[0, 0][LOOK].astype(int) - whole.values[0, 0][LOOK])
    assert difference.max() <= 2


def test_a_volume_is_looked_at(make_model):
    model = make_model(dims=3)
    look = (slice(0, 20), slice(30, 70), slice(10, 90))
    options = SegmentOptions(tile=32, first_look=look)
    heads, events = segment_tiles(noise(20, 90, 100), model, options=options)
    for event in events:
        if event.head > 1:
            break
    assert heads.reached[look].min() >= 1


def test_the_window_asks_for_what_is_on_screen(viewer, dock, segmented, tiny_store):
    """In a plane of several tiles the first layer is filled before there is another."""
    viewer.add_image(noise(300, 420))
    dock.segment_panel.where_row.value = "plane"
    dock.segment_panel.tile_box.setValue(128)
    told, filled = [], []

    def note(event):
        told.append(event.head)
        if event.head == 2 and not filled:
            look = dock.session.run.job.options.first_look
            filled.append((look, dock.results.heads.reached[look].min()))

    dock.session.run_started.connect(lambda run: run.tile_done.connect(note))
    segmented()
    assert told[:3] == [1, 1, 1]
    [(look, reached)] = filled
    assert reached == 1
    assert look[1].stop - look[1].start > 300


@pytest.mark.parametrize("offset", range(0, 16, 3))
def test_what_fits_in_one_tile_is_one_wherever_it_begins(make_model, offset):
    spec = make_model(widths=(4, 6, 8, 10, 12)).spec
    planner = Planner(spec=spec, grid=Grid.of((700, 700), None, None), tile=640, is_free=True)
    wanted = (slice(150 + offset, 430 + offset), slice(130 + offset, 450 + offset))
    assert len(planner.whole(wanted, 4).tiles) == 1


def test_a_small_part_of_one_tile_is_looked_at_first(tiny_model):
    """All that follows is in one tile, which takes longer than what is on screen."""
    image = noise(210, 260)
    look = (slice(100, 130), slice(40, 90))
    options = dataclasses.replace(OPTIONS, tile=512, first_look=look)
    heads, events = segment_tiles(image, tiny_model, options=options)
    first = next(events)
    assert (first.head, first.region) == (1, look)
    assert heads.reached[look].min() == 1
    assert not heads.reached[:90].any()
    assert [event.head for event in events] == [1, 2, 3]


def test_in_one_tile_it_takes_little_of_the_run(make_model):
    """To L2, L1 is two fifths of the work: it would come a little sooner, and all much later."""
    spec = make_model(widths=(4, 6, 8, 10, 12)).spec
    planner = Planner(spec=spec, grid=Grid.of((900, 1000), None, None), tile=960, is_free=True)
    look, wanted = (slice(300, 600), slice(300, 600)), (slice(250, 650), slice(250, 650))
    then = planner.whole(wanted, 2)
    assert planner.first_look(wanted, look, then, share=0.12) is not None
    assert planner.first_look(wanted, look, then, share=0.39) is None


def test_the_work_adds_up_where_memory_runs_out_after_it(tiny_model, monkeypatch):
    original = engine.probabilities

    def computed(network, tile, *rest):
        if tile[0].size > 50_000:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(network, tile, *rest)

    monkeypatch.setattr(engine, "probabilities", computed)
    look = (slice(100, 130), slice(40, 90))
    options = dataclasses.replace(OPTIONS, tile=512, first_look=look)
    told = []
    segment(noise(210, 260), tiny_model, options=options, progress=told.append)
    fractions = [event.fraction for event in told]
    assert told[0].region == look
    assert any(event.notice for event in told)
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)


def test_it_computes_little_more_than_what_is_seen(make_model):
    spec = make_model(widths=(4, 6, 8, 10, 12)).spec
    planner = Planner(spec=spec, grid=Grid.of((900, 1000), None, None), tile=960, is_free=True)
    look = (slice(203, 604), slice(305, 906))
    seen = planner.first_look(look, look, planner.whole(look, 4), share=0.12)
    [tile] = seen.tiles
    assert tile.region == (slice(192, 614), slice(294, 916))  # how far L1 sees, and an even start
