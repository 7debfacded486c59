"""What is held out: learnt and scored places never meet, and lie at the same place of an image."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_unetpp.models import ModelSpec
from napari_unetpp.training import study
from napari_unetpp.training.corrections import Correction, Source
from napari_unetpp.training.gate import EARLIER, HELD_OUT
from napari_unetpp.training.places import GAP, STRIPS, split_places
from napari_unetpp.training.study import CONTEXT, lessons_of, settled, to_score

LARGE = (120, 208)
"""The smallest side that is cut in five is 160: strips of twice the gap."""


def plane(seed: int, shape=LARGE, share: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Known pixels, and the foreground: blobs."""
    rng = np.random.default_rng(seed)
    foreground = ndimage.gaussian_filter(rng.standard_normal(shape), 6) > 0.02
    return rng.random(shape) < share, foreground


def split(planes, before=None):
    known, foreground = zip(*planes, strict=True)
    return split_places(known, foreground, before)[0]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Of the two nearest pixels."""
    return float(ndimage.distance_transform_edt(~one)[other].min())


@given(
    st.lists(st.integers(0, 2**16), min_size=1, max_size=4),
    st.integers(20, 240),
    st.integers(20, 240),
    st.sampled_from([1.0, 0.3, 0.01]),
    st.booleans(),
)
def test_learnt_and_held_out_never_meet(seeds, height, width, share, turned):
    planes = [plane(seed, (height, width), share) for seed in seeds]
    if turned:
        planes.append(plane(1, (width, height + 1), share))
    splits = split(planes)
    for shape in {known.shape for known, _ in planes}:
        alike = [part for part in splits if part.learnt.shape == shape]
        learnt = np.logical_or.reduce([part.learnt for part in alike])
        held_out = np.logical_or.reduce([part.held_out for part in alike])
        assert not (learnt & held_out).any()
        if learnt.any() and held_out.any():  # also across planes
            assert distance(learnt, held_out) > GAP
    for (known, _), part in zip(planes, splits, strict=True):
        assert not (part.learnt & ~known).any()
        assert not (part.held_out & ~known).any()
        if not part.held_out.any() and len(planes) == 1:
            np.testing.assert_array_equal(part.learnt, known)


@pytest.mark.parametrize("shape", [LARGE, LARGE[::-1]])
def test_about_a_fifth_is_held_out_across_the_long_side(shape):
    (part,) = split([plane(3, shape)])
    assert part.held_out.mean() == pytest.approx(1 / STRIPS[0], abs=0.01)
    assert part.learnt.mean() > 1 - 1 / STRIPS[0] - 2.1 * GAP / max(shape)
    long = int(np.argmax(shape))
    assert part.held_out.all(axis=1 - long).sum() == part.held_out.any(axis=1 - long).sum()


@pytest.mark.parametrize(("long", "strips"), [(99, 3), (127, 3), (133, 4), (159, 4), (166, 5)])
def test_a_small_image_is_cut_into_fewer_strips(long, strips):
    (part,) = split([plane(3, (70, long))])
    assert part.held_out.mean() == pytest.approx(1 / strips, abs=0.02)


def test_planes_of_a_shape_have_the_same_strip():
    first, *others = split([plane(n) for n in range(3)])
    for part in others:
        np.testing.assert_array_equal(part.held_out, first.held_out)


@given(st.integers(0, 2**16), st.integers(0, 2**16))
def test_what_was_held_out_stays_so(seed, later):
    known, foreground = zip(plane(seed), strict=True)
    (before,), strips = split_places(known, foreground)
    more = [plane(seed), plane(later), plane(later + 1, (100, 190))]
    after = split(more, strips)
    np.testing.assert_array_equal(after[0].held_out, before.held_out)
    np.testing.assert_array_equal(after[1].held_out, before.held_out)
    assert after[2].held_out.any()


def test_a_strip_in_which_nothing_is_known_any_more_is_chosen_anew():
    known, foreground = plane(0)
    (before,), strips = split_places([known], [foreground])
    elsewhere = known & ~before.held_out
    (after,) = split([(elsewhere, foreground)], strips)
    assert after.held_out.any()
    assert not (after.held_out & before.held_out).any()


@pytest.mark.parametrize("where", ["inside", "elsewhere"])
def test_a_strip_is_chosen_anew_where_nothing_new_could_be_learnt_or_scored(where):
    """Though it still cuts what was learnt before."""
    known, foreground = plane(0)
    (before,), strips = split_places([known], [foreground])
    now = known & (before.held_out if where == "inside" else ~before.held_out)
    new, _ = split_places([now, known], [foreground] * 2, strips, new=[True, False])[0]
    assert new.learnt.any()
    assert new.held_out.any()


def test_the_strip_stands_for_the_image():
    known = np.ones(LARGE, bool)
    foreground = np.zeros(LARGE, bool)
    columns = np.arange(LARGE[1])
    for strip, share in enumerate((0.9, 0.0, 0.1, 0.3, 0.2)):  # 0.3 on average
        inside = (columns // (LARGE[1] / STRIPS[0])).astype(int) == strip
        foreground[: int(share * LARGE[0]), inside] = True
    (part,) = split([(known, foreground)])
    assert np.flatnonzero(part.held_out.any(axis=0)).mean() == pytest.approx(145, abs=2)


def test_strips_hold_as_many_known_pixels_each():
    known, foreground = plane(5)
    known[:, 170:] = False
    (part,) = split([(known, foreground)])
    assert part.held_out.sum() == pytest.approx(known.sum() / STRIPS[0], rel=0.05)


@pytest.mark.parametrize("shape", [(40, 60), (1, 95), (95, 2), (1, 1)])
def test_too_small_an_image_is_learnt_whole(shape):
    known, foreground = plane(0, shape)
    (part,) = split([(known, foreground)])
    np.testing.assert_array_equal(part.learnt, known)
    assert not part.held_out.any()


def test_one_spot_of_a_large_image_is_learnt_whole():
    known, foreground = plane(0)
    known[:] = False
    known[50:60, 100:180] = True
    (part,) = split([(known, foreground)])
    np.testing.assert_array_equal(part.learnt, known)


def test_nothing_known_is_no_accident():
    known, foreground = plane(0, share=0.0)
    (part,) = split([(known, foreground)])
    assert not part.learnt.any()
    assert not part.held_out.any()
    assert split_places([], []) == ([], {})


# --- lessons


SPEC = ModelSpec(name="m", widths=(4, 6), classes=("left", "right"))


def correction(seed: int, name: str = "stack", shape=LARGE, share=1.0) -> Correction:
    known, foreground = plane(seed, shape, share)
    classes = foreground * np.where(np.arange(shape[1]) < shape[1] // 2, 1, 2)
    image = np.random.default_rng(seed).integers(0, 4095, (1, *shape)).astype(np.uint16)
    wrong = known & (np.arange(shape[0]) < 9)[:, None]
    source = Source(image=name, shape=(9, *shape), index=(seed,))
    return Correction(image, classes.astype(np.uint8), known, wrong, source)


def test_a_lesson_learns_in_one_place_and_is_scored_in_another():
    one = correction(0)
    ((lesson,), _) = lessons_of([one], SPEC, [HELD_OUT])
    np.testing.assert_array_equal(lesson.learnt.mask, [one.classes == 1, one.classes == 2])
    assert (lesson.learnt.image.min(), lesson.learnt.image.max()) == (0, 1)
    everywhere, wrong = lesson.learnt.places
    for places, where in ((everywhere, one.known), (wrong, one.wrong)):
        assert where[tuple(places.T)].all()
        assert (lesson.learnt.weight[0][tuple(places.T)] == 1).all()
    (held_out,) = lesson.held_out
    assert held_out.kind == HELD_OUT
    strip = held_out.weight[0].any(axis=0)
    around = held_out.weight.shape[2] - strip.sum()
    assert 0 < around <= 2 * CONTEXT[2]
    assert held_out.weight.sum() + lesson.learnt.weight.sum() < one.known.sum()


def test_a_large_place_is_scored_in_pieces_each_pixel_once(monkeypatch):
    monkeypatch.setattr(study, "PIECE", {2: 50})
    one = correction(0)
    ((lesson,), _) = lessons_of([one], SPEC, [HELD_OUT])
    assert len(lesson.held_out) == 3
    assert (
        sum(piece.weight.sum() for piece in lesson.held_out) == split([plane(0)])[0].held_out.sum()
    )
    monkeypatch.setattr(study, "SCORED_PIXELS", 2 * lesson.held_out[0].weight.size)
    scored = to_score(lesson.held_out, 0)
    assert 1 <= len(scored) <= 2
    assert [id(p) for p in to_score(lesson.held_out, 0)] == [id(p) for p in scored]
    monkeypatch.setattr(study, "SCORED_PIXELS", 1)
    assert len(to_score(lesson.held_out, 0)) == 1


def test_what_has_something_to_find_is_scored_first():
    full, empty = (lessons_of([correction(n)], SPEC, [HELD_OUT])[0][0].held_out[0] for n in (0, 1))
    empty.mask[...] = 0
    for seed in range(4):
        assert to_score([empty, full, empty], seed)[0] is full
    assert to_score([], 0) == []


def test_earlier_planes_of_an_image_are_held_out_at_the_same_place():
    both = [correction(0), correction(1)]
    lessons, _ = lessons_of(both, SPEC, [HELD_OUT, EARLIER])
    (one,), (other,) = (lesson.held_out for lesson in lessons)
    assert (one.kind, other.kind) == (HELD_OUT, EARLIER)
    np.testing.assert_array_equal(one.weight, other.weight)
    for lesson in lessons:
        np.testing.assert_array_equal(lesson.learnt.weight, lessons[0].learnt.weight)


def test_a_plane_known_where_the_strip_is_is_scored_all_the_same():
    whole = [correction(n) for n in range(3)]
    strip = lessons_of(whole, SPEC, [HELD_OUT] * 3)[0][0].learnt.weight[0] == 0
    middle = int(np.flatnonzero(strip.any(axis=0)).mean())
    inside = np.zeros(LARGE, bool)
    inside[60:64, middle - 2 : middle + 2] = True
    narrow = dataclasses.replace(correction(3), known=inside, wrong=inside)
    lesson = lessons_of([*whole, narrow], SPEC, [HELD_OUT] * 4)[0][-1]
    assert not lesson.learnt.weight.any()
    assert lesson.held_out[0].weight.sum() == inside.sum()


def edged(dark: bool, middle: float, seed: int = 0) -> Correction:
    """A plane of noise around a grey: how far it is from the ends tells its background."""
    rng = np.random.default_rng(seed)
    image = np.clip(rng.normal(middle, 0.1, (1, *LARGE)), 0, 1)
    image[0, :6, :60], image[0, :6, 60:120] = 0, 1
    return dataclasses.replace(correction(seed), image=image if dark else 1 - image)


@pytest.mark.parametrize("dark", [True, False])
def test_a_doubtful_background_is_settled_by_the_majority(dark):
    planes = [edged(dark, 0.45, n) for n in range(3)] + [edged(not dark, 0.45, 3)]
    found = settled(SPEC.normalisation, planes)
    assert found.background == ("dark" if dark else "bright")
    assert found == SPEC.normalisation.model_copy(update={"background": found.background})


def test_one_that_is_clearly_otherwise_leaves_all_as_they_are():
    """As fluorescence learnt before, when electron micrographs are learnt now."""
    planes = [edged(False, 0.45, n) for n in range(4)] + [edged(True, 0.1, 4)]
    assert settled(SPEC.normalisation, planes) == SPEC.normalisation


def test_a_clear_background_is_left_to_each_plane():
    planes = [edged(True, 0.1, n) for n in range(3)]
    assert settled(SPEC.normalisation, planes) == SPEC.normalisation
    told = SPEC.normalisation.model_copy(update={"background": "bright"})
    assert settled(told, [edged(True, 0.45)]) == told


def test_what_is_nowhere_known_teaches_nothing():
    ((lesson,), _) = lessons_of([correction(0, share=0.0)], SPEC, [HELD_OUT])
    assert not lesson.learnt.weight.any()
    assert lesson.held_out == ()
