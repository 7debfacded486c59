"""What labels mean, what a correction knows, and the folder in which it outlives a crash."""

import errno
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save_file

from napari_unetpp.errors import UserError
from napari_unetpp.training import correction_folder
from napari_unetpp.training.correction_folder import CorrectionFolder, read_correction
from napari_unetpp.training.corrections import Correction, Source, correct, digest_of
from napari_unetpp.training.labels import class_masks, guess_kind, read_labels

SHAPE = (40, 56)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 4000, (1, *SHAPE)).astype(np.uint16)
SOURCE = Source(image="cells", shape=SHAPE, layer="mask")
KINDS = ("classes", "instances", "scribbles")

label_planes = arrays.arrays(
    st.sampled_from([np.uint8, np.int32, np.uint64]),
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.integers(0, 5),
)


def corrected(labels, kind="classes", image=IMAGE, source=SOURCE, **arguments) -> Correction:
    return correct(image, labels, kind=kind, source=source, **arguments)


def square(value=1, dtype=np.uint8) -> np.ndarray:
    labels = np.zeros(SHAPE, dtype)
    labels[10:20, 12:30] = value
    return labels


def assert_same(one: Correction, other: Correction) -> None:
    for name in ("image", "classes", "known", "wrong"):
        mine, its = getattr(one, name), getattr(other, name)
        assert mine.dtype.newbyteorder("=") == its.dtype.newbyteorder("=")
        np.testing.assert_array_equal(mine, its)
    assert one.source == other.source
    assert one.plane == other.plane


# --- labels


def test_classes_are_taken_as_they_are():
    labels = np.array([[0, 1, 2], [2, 0, 1]])
    classes, known = read_labels(labels, "classes")
    np.testing.assert_array_equal(classes, labels)
    assert classes.dtype == np.uint8
    assert known.all()


def test_scribbles_are_known_where_they_are_painted():
    classes, known = read_labels(np.array([[0, 1, 2], [3, 0, 1]]), "scribbles")
    np.testing.assert_array_equal(known, [[False, True, True], [True, False, True]])
    np.testing.assert_array_equal(classes, [[0, 0, 1], [2, 0, 0]])


def test_instances_that_touch_are_kept_apart():
    labels = np.array(
        [
            [1, 1, 2, 2, 0, 0],
            [1, 1, 2, 2, 0, 0],
            [3, 3, 3, 0, 0, 4],
            [3, 3, 3, 0, 0, 4],
        ]
    )
    classes, known = read_labels(labels, "instances")
    expected = [
        [1, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1],
        [1, 1, 1, 0, 0, 1],
    ]
    np.testing.assert_array_equal(classes, expected)
    assert known.all()


@given(label_planes)
def test_instances_that_do_not_touch_stay_whole(labels):
    alone = np.where(labels == 3, labels, 0)
    np.testing.assert_array_equal(read_labels(alone, "instances")[0], alone > 0)


@given(label_planes, st.permutations(range(1, 6)))
def test_numbers_of_instances_say_nothing(labels, order):
    other = np.array([0, *order])[labels.astype(int)]
    for mine, its in zip(
        read_labels(labels, "instances"), read_labels(other, "instances"), strict=True
    ):
        np.testing.assert_array_equal(mine, its)


@given(label_planes, st.sampled_from(KINDS))
def test_what_is_not_background_is_labelled(labels, kind):
    classes, known = read_labels(labels, kind)
    assert classes.shape == known.shape == labels.shape
    assert not classes[labels == 0].any()
    assert not classes[~known].any()


def test_masks_of_classes_are_apart():
    masks = class_masks(np.array([[0, 1, 2], [2, 0, 3]]), 2)
    np.testing.assert_array_equal(masks, [[[0, 1, 0], [0, 0, 0]], [[0, 0, 1], [1, 0, 0]]])


@pytest.mark.parametrize(
    ("largest", "classes", "kind"),
    [
        (0, 1, "classes"),
        (1, 1, "classes"),
        (2, 1, "classes"),
        (3, 1, "instances"),
        (255, 1, "instances"),
        (6, 5, "classes"),
        (7, 5, "instances"),
    ],
)
def test_the_kind_is_guessed_from_the_numbers(largest, classes, kind):
    assert guess_kind(square(largest), classes) == kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (square(dtype=np.float32), "type float32"),
        (square(np.nan, np.float64), "type float64"),
        (square(-1, np.int16), "negative"),
    ],
    ids=["float", "nan", "negative"],
)
def test_labels_that_are_none_are_refused(labels, words, kind):
    with pytest.raises(UserError, match=words):
        read_labels(labels, kind)
    with pytest.raises(UserError, match=words):
        guess_kind(labels, 1)


@pytest.mark.parametrize(("kind", "largest"), [("classes", 32), ("scribbles", 33)])
def test_too_many_classes_are_taken_for_objects(kind, largest):
    assert read_labels(square(largest), kind)[0].max() == 32
    with pytest.raises(UserError, match=r"up to 33.* say that they are instances"):
        read_labels(square(largest + 1, np.uint16), kind)


# --- corrections


def test_a_checked_plane_is_known_all_over():
    predicted = square()
    painted = predicted.copy()
    painted[30:35, 40:50] = 1
    painted[10:12, 12:30] = 0
    correction = corrected(painted, predicted=predicted)
    assert correction.known.all()
    np.testing.assert_array_equal(correction.wrong, painted != predicted)
    np.testing.assert_array_equal(correction.classes, painted)
    assert correction.source.trust == "planes"


def test_without_a_prediction_all_that_is_labelled_was_wrong():
    for kind in KINDS:
        correction = corrected(square(3), kind)
        np.testing.assert_array_equal(correction.wrong, square(3) > 0)


def test_another_class_is_a_change():
    correction = corrected(square(2), predicted=square(1))
    np.testing.assert_array_equal(correction.wrong, square() > 0)


def test_another_number_of_an_object_is_none():
    correction = corrected(square(7), "instances", predicted=square(1))
    assert not correction.wrong.any()


def test_objects_that_were_one_are_wrong_at_their_border():
    apart = square(1)
    apart[10:20, 21:30] = 2
    correction = corrected(apart, "instances", predicted=square(1))
    np.testing.assert_array_equal(np.argwhere(correction.wrong.any(axis=0)).ravel(), [20, 21])


def test_scribbles_are_wrong_where_something_else_was_predicted():
    scribbles = np.zeros(SHAPE, np.uint8)
    scribbles[12, 5:40] = 2  # the class
    scribbles[25, 5:40] = 1  # background
    correction = corrected(scribbles, "scribbles", predicted=square())
    np.testing.assert_array_equal(correction.known, scribbles > 0)
    np.testing.assert_array_equal(correction.wrong, (scribbles == 2) & (square() == 0))
    assert correction.source.trust == "scribbles"


@pytest.mark.parametrize("margin", [0, 4])
def test_a_margin_around_changes_is_known(margin):
    predicted = square()
    painted = predicted.copy()
    painted[30, 40] = 1
    correction = corrected(painted, trust="margin", predicted=predicted, margin=margin)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    np.testing.assert_array_equal(correction.known, np.hypot(y - 30, x - 40) <= margin)
    assert correction.source.trust == "margin"


def test_without_a_change_a_margin_knows_nothing():
    correction = corrected(square(), trust="margin", predicted=square())
    assert not correction.known.any()
    assert not correction.wrong.any()


def test_labels_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"labels of cells have shape \(56, 40\).*\(40, 56\)"):
        corrected(square().T)


def test_a_plane_without_a_number_is_refused():
    nowhere = np.full((1, *SHAPE), np.nan, np.float32)
    with pytest.raises(UserError, match="cells has no finite intensity"):
        corrected(square(), image=nowhere)
    nowhere[0, 3, 4] = 7
    assert corrected(square(), image=nowhere).known.all()


# --- the folder


@pytest.fixture
def folder(tmp_path) -> CorrectionFolder:
    return CorrectionFolder(tmp_path / "corrections" / "family")


images = arrays.arrays(
    st.sampled_from(["u1", "<u2", ">u2", "<i4", ">f4", "<f8", "<f2", "?"]),
    arrays.array_shapes(min_dims=3, max_dims=3, max_side=9),
)


@given(images, st.sampled_from("CF"), st.data())
def test_what_is_saved_comes_back(tmp_path_factory, image, order, data):
    shape = image.shape[1:]
    image = np.asarray(image, order=order)
    classes, known, wrong = (
        data.draw(arrays.arrays(dtype, shape)) for dtype in (np.uint8, bool, bool)
    )
    source = Source(
        image=data.draw(st.text(st.characters(codec="utf-8"), max_size=9)),
        shape=(3, *shape),
        index=(data.draw(st.integers(0, 2)),),
        layer="mask",
        trust=data.draw(st.sampled_from(["planes", "margin", "scribbles"])),
    )
    correction = Correction(image, classes, known, wrong, source)
    folder = CorrectionFolder(tmp_path_factory.mktemp("corrections"))

    path = folder.save(correction)

    assert path.name == correction.file_name
    assert_same(read_correction(path), correction)
    assert folder.sources() == {path: source}
    (loaded,), problems = folder.load()
    assert_same(loaded, correction)
    assert not problems


@given(images)
def test_the_same_pixels_are_the_same_plane(image):
    assert digest_of(image) == digest_of(image.copy(order="F"))
    assert digest_of(image) == digest_of(image.astype(image.dtype.newbyteorder()))
    other = image.copy()
    other.reshape(-1)[0] = not other.reshape(-1)[0]
    assert digest_of(other) != digest_of(image)


def test_a_folder_that_is_not_there_is_empty(folder):
    assert folder.load() == ([], [])
    assert folder.sources() == {}
    assert folder.replayed({"any": ""}, [corrected(square())]) == []


def test_a_later_stroke_replaces_an_earlier_one(folder):
    first = folder.save(corrected(square(1)))
    second = folder.save(corrected(square(2)))
    assert first == second
    (loaded,), _ = folder.load()
    assert loaded.classes.max() == 2


@pytest.mark.parametrize("newest_first", [True, False])
def test_of_one_plane_the_newest_counts(folder, newest_first):
    old = Source(image="a", layer="first", when="2026-01-02T03:04:05.678+00:00")
    new = Source(image="b", layer="second", when="2026-01-02T03:04:05.679+00:00")
    both = [corrected(square(1), source=old), corrected(square(2), source=new)]
    for correction in reversed(both) if newest_first else both:
        folder.save(correction)
    assert len(folder.sources()) == 2
    (loaded,), _ = folder.load()
    assert loaded.source == new
    assert loaded.classes.max() == 2


def test_what_a_version_learnt_is_replayed_but_for_planes_corrected_anew(folder):
    mine, its = corrected(square(1)), corrected(square(1), image=IMAGE + 1)
    folder.save(mine)
    folder.save(its)
    again = corrected(square(2), source=Source(image="renamed", layer="another"))
    folder.save(again)
    learnt = {one.file_name: one.content for one in (mine, its)}
    (earlier,) = folder.replayed(learnt, [again])
    assert_same(earlier, its)
    assert len(folder.replayed(learnt, [])) == 2
    assert folder.replayed({again.file_name: again.content}, [again]) == []
    assert folder.replayed({}, []) == []


def test_what_was_painted_after_it_was_learnt_is_not_replayed(folder):
    learnt, later = corrected(square(1)), corrected(square(2))
    assert learnt.file_name == later.file_name
    assert learnt.content != later.content
    folder.save(later)
    assert folder.replayed({learnt.file_name: learnt.content}, []) == []
    assert len(folder.replayed({later.file_name: later.content}, [])) == 1


def test_of_many_some_are_replayed_always_the_same(folder, monkeypatch):
    many = [corrected(square(), image=IMAGE + n) for n in range(12)]
    for one in many:
        folder.save(one)
    learnt = {one.file_name: one.content for one in many}
    assert len(folder.replayed(learnt, [])) == 12
    monkeypatch.setattr(correction_folder, "REPLAYED_PIXELS", 4 * square().size)
    some = {one.file_name for one in folder.replayed(learnt, [])}
    assert len(some) == 4
    assert some != set(sorted(learnt)[:4])
    assert {one.file_name for one in folder.replayed(learnt, [])} == some
    monkeypatch.setattr(correction_folder, "REPLAYED_PIXELS", 1)
    assert len(folder.replayed(learnt, [])) == 1


FOREIGN = {
    "empty": lambda path, whole: path.write_bytes(b""),
    "text": lambda path, whole: path.write_text("Dear diary"),
    "cut in the head": lambda path, whole: path.write_bytes(whole[:20]),
    "cut in the pixels": lambda path, whole: path.write_bytes(whole[:-1]),
    "other tensors": lambda path, whole: save_file({"image": IMAGE}, path),
    "no source": lambda path, whole: save_file({"image": IMAGE}, path, {"a": "b"}),
    "bad source": lambda path, whole: save_file(
        {"image": IMAGE}, path, {"napari_unetpp_correction": '{"image": 3}'}
    ),
    "parts missing": lambda path, whole: save_file(
        {"image": IMAGE}, path, {"napari_unetpp_correction": '{"image": "cells"}'}
    ),
    "parts that don't fit": lambda path, whole: save_file(
        {
            "image": IMAGE,
            "classes": square().T.copy(),
            "known": square() > 0,
            "wrong": square() > 0,
        },
        path,
        {"napari_unetpp_correction": '{"image": "cells"}'},
    ),
    "parts of another type": lambda path, whole: save_file(
        {"image": IMAGE, "classes": square(), "known": square(), "wrong": square()},
        path,
        {"napari_unetpp_correction": '{"image": "cells"}'},
    ),
}


@pytest.mark.parametrize("spoil", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_none_is_left_out_with_a_sentence(folder, spoil):
    good = corrected(square())
    whole = folder.save(good).read_bytes()
    bad = folder.folder / "bad.safetensors"
    spoil(bad, whole)

    (loaded,), (problem,) = folder.load()

    assert_same(loaded, good)
    assert problem.startswith("The correction bad.safetensors is left out")
    assert "\n" not in problem
    assert len(folder.replayed({good.file_name: good.content}, [])) == 1
    with pytest.raises(UserError, match=r"bad\.safetensors is left out"):
        read_correction(bad)


def test_what_a_killed_write_leaves_is_no_correction(folder):
    path = folder.save(corrected(square()))
    path.with_name(f".{path.name}.1234").write_bytes(path.read_bytes()[:-9])
    path.with_name(f".{path.name}").write_bytes(path.read_bytes()[:-9])
    assert len(folder.sources()) == 1
    assert folder.load()[1] == []


def test_a_full_disk_leaves_the_last_correction(folder, monkeypatch):
    before = corrected(square(1))
    path = folder.save(before)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        folder.save(corrected(square(2)))
    assert list(folder.folder.iterdir()) == [path]
    assert_same(read_correction(path), before)
