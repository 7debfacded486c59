"""How deep: the recommendation by its laws, and the figures of each head on an image."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.how_deep import how_deep, measure
from napari_unetpp.evaluation.parts import MOST, spread, window
from napari_unetpp.evaluation.recommend import DepthRow, Depths, recommend, sentence
from napari_unetpp.evaluation.remembered import choose, recall, remember
from napari_unetpp.evaluation.scores import Cost
from napari_unetpp.inference.layout import Layout
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment

SHAPE = (48, 64)
CPU = SegmentOptions(device="cpu")


def row(head: str, iou: float, milliseconds: float, parameters: int = 1) -> DepthRow:
    return DepthRow(head, iou, iou, Cost(parameters, milliseconds, 1000))


# Few values each, so that ties are common.
ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(["L1", "L2", "L3", "ensemble"]),
        st.sampled_from([0.0, 0.5, 0.895, 0.9, 1.0, math.nan]),
        st.sampled_from([1.0, 2.0, 5.0, math.nan]),
        st.integers(1, 3),
    ),
    max_size=6,
)
TOLERANCES = st.sampled_from([0, 0.5, 3, 10, 100])


# --- the recommendation


@given(ROWS, TOLERANCES)
def test_no_cheaper_head_is_as_good_as_the_recommended(
    rows: list[DepthRow], tolerance: float
) -> None:
    chosen = recommend(rows, tolerance)

    scored = [r for r in rows if not math.isnan(r.iou)]
    assert (chosen is None) == (not scored)
    if chosen is None:
        return
    best = max(r.iou for r in scored)
    assert chosen in rows
    assert best - chosen.iou <= tolerance / 100 + 1e-6
    for other in scored:
        if other.cost.milliseconds_per_megapixel < chosen.cost.milliseconds_per_megapixel:
            assert best - other.iou > tolerance / 100


@given(ROWS, TOLERANCES, TOLERANCES)
def test_who_tolerates_more_never_waits_longer(rows: list[DepthRow], a: float, b: float) -> None:
    strict, lax = (recommend(rows, tolerance) for tolerance in sorted((a, b)))

    if strict is not None and lax is not None:
        times = [r.cost.milliseconds_per_megapixel for r in (strict, lax)]
        assert math.isnan(times[0]) or times[1] <= times[0]


@given(ROWS, TOLERANCES, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    rows: list[DepthRow], tolerance: float, random: Any
) -> None:
    rows = [dataclasses.replace(r, head=f"L{n}") for n, r in enumerate(rows)]
    shuffled = random.sample(rows, len(rows))

    chosen, again = recommend(rows, tolerance), recommend(shuffled, tolerance)

    assert (chosen is None) == (again is None)
    if chosen is not None and again is not None:
        assert str(chosen.cost) == str(again.cost)


def test_half_a_point_is_within_half_a_point() -> None:
    assert recommend([row("L1", 0.895, 1), row("L2", 0.9, 2)], 0.5).head == "L1"
    assert recommend([row("L1", 0.8949, 1), row("L2", 0.9, 2)], 0.5).head == "L2"


def test_a_plain_head_goes_before_an_ensemble_that_takes_as_long() -> None:
    rows = [row("ensemble", 0.902, 5, 12), row("L4", 0.9, 5, 10)]

    assert recommend(rows, 0.5).head == "L4"
    assert recommend(rows, 0.1).head == "ensemble"


@pytest.mark.parametrize("tolerance", [-0.1, 100.5, math.nan])
def test_a_tolerance_that_is_none_is_refused(tolerance: float) -> None:
    with pytest.raises(UserError, match="IoU points from 0 to 100"):
        recommend([row("L1", 0.9, 1)], tolerance)


@pytest.mark.parametrize(
    ("rows", "agreement", "expected"),
    [
        (
            [row("L1", 0.7, 1), row("L2", 0.897, 2), row("L4", 0.9, 6.2)],
            False,
            "L2 is within 0.3 points of L4 and 3.1 times as fast.",
        ),
        (
            [row("L1", 0.7, 1), row("L2", 0.89, 3), row("L4", 0.9, 6)],
            False,
            "L4 is the best; no cheaper head is within 0.5 IoU points.",
        ),
        (
            [row("L1", 0.7, 1), row("L2", 0.9, 2), row("L4", 0.8, 6), row("ensemble", 0.8, 6, 9)],
            False,
            "L2 is the best and 3.0 times as fast as L4; no cheaper head is within 0.5 IoU points.",
        ),
        ([row("L1", 0.9, 1), row("L2", 0.8, 3)], False, "L1 is the best and 3.0 times as fast"),
        (
            [row("L1", 0.9, 1), row("L2", 0.9, 3)],
            True,
            "L1 finds the same as L2 and is 3.0 times as fast.",
        ),
        (
            [row("L1", 0.996, 1), row("L2", 1.0, 3)],
            True,
            "L1 agrees with L2 but for 0.4 points and is 3.0 times as fast.",
        ),
        ([row("L1", 0.9, 1), row("L2", 1.0, 3)], True, "No cheaper head agrees with L2"),
        ([row("L4", 0.9, 1)], False, "L4 is the only head."),
        ([row("L1", math.nan, 1), row("L2", math.nan, 3)], False, "nothing to find"),
        (
            [row("L2", 0.9, 2), row("ensemble", 0.902, 2, 9)],
            False,
            "L2 is within 0.2 points of the ensemble.",
        ),
    ],
)
def test_the_sentence_says_why(rows: list[DepthRow], agreement: bool, expected: str) -> None:
    told = sentence(rows, 0.5, agreement=agreement)

    assert expected in told


# --- which part


@given(
    st.lists(st.integers(1, 300), min_size=2, max_size=3),
    st.integers(1, 5000),
    st.lists(st.floats(-50, 350), min_size=3, max_size=3),
)
def test_a_window_lies_inside_and_is_not_too_large(
    shape: list[int], most: int, focus: list[float]
) -> None:
    region = window(shape, focus[: len(shape)], most)

    sides = [part.stop - part.start for part in region]
    assert all(0 <= p.start < p.stop <= n for p, n in zip(region, shape, strict=True))
    assert math.prod(sides) <= most
    if math.prod(shape) <= most:
        assert sides == shape


def test_a_window_is_around_what_is_looked_at() -> None:
    assert window((100, 300), (50, 200), 40 * 40) == (slice(30, 70), slice(180, 220))
    assert window((10, 300), (5, 0), 1000) == (slice(0, 10), slice(0, 100))


@given(st.integers(1, 50), st.integers(1, 20))
def test_a_choice_is_spread_evenly(length: int, count: int) -> None:
    chosen = spread(range(length), count)

    assert len(chosen) == min(length, count)
    assert len(set(chosen)) == len(chosen)
    gaps = [b - a for a, b in itertools.pairwise(chosen)]
    assert not gaps or max(gaps) - min(gaps) <= 1


# --- the figures


def image_and_masks(model: Any, shape: tuple[int, ...] = SHAPE, axes: str = "YX") -> Any:
    image = np.random.default_rng(3).integers(0, 255, shape, np.uint8)
    return image, segment(image, model, axes=axes, options=CPU).masks()


def test_the_head_that_made_the_labels_is_perfect(tiny_model: Any) -> None:
    image, masks = image_and_masks(tiny_model)

    depths = how_deep(image, tiny_model, options=CPU, labels=masks[1])

    by_head = {r.head: r for r in depths.rows}
    assert list(by_head) == ["L1", "L2", "L3", "ensemble"]
    assert (by_head["L2"].iou, by_head["L2"].dice) == (1, 1)
    assert by_head["L1"].iou < 1
    assert not depths.agreement
    assert depths.part == "1 plane of 48 × 64 pixels"
    assert depths.tile == SHAPE
    assert recommend(depths.rows, 0).head == "L2"


def test_without_labels_heads_are_compared_with_the_deepest(tiny_model: Any) -> None:
    image, masks = image_and_masks(tiny_model)

    depths = how_deep(image, tiny_model, options=CPU)

    assert depths.agreement
    assert depths.rows[2].iou == 1
    both, either = (masks[0] & masks[2]).sum(), (masks[0] | masks[2]).sum()
    assert depths.rows[0].iou == pytest.approx(both / either)


def test_deeper_costs_more_and_the_ensemble_as_much_as_the_deepest(tiny_model: Any) -> None:
    image, _ = image_and_masks(tiny_model)

    *heads, ensemble = [r.cost for r in how_deep(image, tiny_model, options=CPU).rows]

    for figure in ("milliseconds_per_megapixel", "parameters", "memory"):
        values = [getattr(cost, figure) for cost in heads]
        assert values == sorted(values)
        assert values[0] > 0
    assert ensemble.milliseconds_per_megapixel == heads[-1].milliseconds_per_megapixel
    assert ensemble.memory == heads[-1].memory
    assert ensemble.parameters > heads[-1].parameters


def test_just_known_pixels_count(tiny_model: Any) -> None:
    image, masks = image_and_masks(tiny_model)
    labels, known = masks[0].copy(), np.zeros(SHAPE, bool)
    labels[:, :20] = 1 - masks[0][:, :20]  # all wrong
    known[:, 20:] = True

    depths = how_deep(image, tiny_model, options=CPU, labels=labels, known=known)

    assert depths.rows[0].iou == 1


def test_labels_without_an_object_say_nothing(tiny_model: Any) -> None:
    image, masks = image_and_masks(tiny_model)

    depths = how_deep(image, tiny_model, options=CPU, labels=np.zeros_like(masks[0]))

    assert all(math.isnan(r.iou) and math.isnan(r.dice) for r in depths.rows)
    assert all(r.cost.milliseconds_per_megapixel > 0 for r in depths.rows)
    assert recommend(depths.rows) is None
    assert "nothing to find" in depths.sentence(0.5)


def test_labelled_planes_of_a_stack_are_looked_at(tiny_model: Any) -> None:
    image, masks = image_and_masks(tiny_model, (5, *SHAPE), "ZYX")
    labels = np.zeros_like(masks[0])
    labels[[1, 4]] = masks[1][[1, 4]]

    depths = how_deep(image, tiny_model, axes="ZYX", options=CPU, labels=labels)

    assert depths.part == "2 planes of 48 × 64 pixels"
    assert depths.rows[1].iou == 1


def test_of_a_large_image_a_part_is_looked_at(tiny_model: Any) -> None:
    read: list[int] = []

    class Large:
        """An image of which nothing may be read but what is needed."""

        shape, dtype = (3, 20_000, 3000), np.dtype(np.uint8)

        def __getitem__(self, key: Any) -> Any:
            part = np.random.default_rng(0).integers(0, 255, self.shape[1:], np.uint8)[key[1:]]
            read.append(part.size)
            return part

    options = SegmentOptions(device="cpu", depth=1)
    depths = how_deep(Large(), tiny_model, axes="ZYX", options=options)

    assert depths.part == "1 plane of 1024 × 1024 pixels"
    assert max(read) < 4 * MOST
    assert [r.head for r in depths.rows] == ["L1"]


def test_volumes_are_measured_by_voxels(make_model: Any) -> None:
    model = make_model(dims=3, voxel_size=(0.5, 0.5, 0.5))
    shape = (16, 24, 30)
    image = np.random.default_rng(4).integers(0, 255, shape, np.uint8)
    options = SegmentOptions(device="cpu", pixel_size=(1.0, 0.5, 0.5))
    labels = segment(image, model, axes="ZYX", options=options).masks()[0]

    depths = how_deep(image, model, axes="ZYX", options=options, labels=labels)

    assert depths.dims == 3
    assert depths.part == "1 volume of 16 × 24 × 30 voxels"
    assert depths.tile == (32, 24, 30)  # the network has twice as many planes
    assert depths.rows[0].iou == 1


def test_a_model_of_several_classes_is_counted_by_class(make_model: Any) -> None:
    model = make_model(classes=("nucleus", "border"))
    image, masks = image_and_masks(model)

    right = how_deep(image, model, options=CPU, labels=masks[1])
    swapped = how_deep(image, model, options=CPU, labels=np.array([0, 2, 1])[masks[1]])

    assert right.rows[1].iou == 1
    assert swapped.rows[1].iou < 0.5


def test_it_can_be_ended_after_any_step(tiny_model: Any) -> None:
    image, _ = image_and_masks(tiny_model)
    layout = Layout.of(image)
    options = dataclasses.replace(CPU, indices=[()], region=layout.whole)

    steps = measure(image, tiny_model, layout, options)
    fractions = list(itertools.islice(steps, 5))
    steps.close()

    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < fractions[-1] < 1


def test_a_depth_that_the_model_has_not_is_refused(tiny_model: Any) -> None:
    image, _ = image_and_masks(tiny_model)

    for depth in (0, 4):
        with pytest.raises(UserError, match=f"The depth is {depth}, but tiny has"):
            how_deep(image, tiny_model, options=SegmentOptions(device="cpu", depth=depth))


def test_labels_of_another_shape_are_refused(tiny_model: Any) -> None:
    image, _ = image_and_masks(tiny_model)

    with pytest.raises(UserError, match=r"labels have shape \(64, 48\)"):
        how_deep(image, tiny_model, labels=np.zeros(SHAPE[::-1], int))


# --- what is remembered


def depths_of(*rows: DepthRow) -> Depths:
    return Depths(
        model="m",
        digest="d",
        dims=2,
        device="CPU, bf16",
        compared="",
        part="",
        tile=(8, 8),
        rows=rows,
    )


def test_figures_and_choice_are_remembered_by_device(tmp_path: Path) -> None:
    path = tmp_path / "made" / "model.json"
    first, second = depths_of(row("L1", math.nan, 1)), depths_of(row("L1", 0.5, 2))

    assert recall(path, "auto") is None
    remember(path, first, "auto")
    remember(path, first, "cpu")
    choose(path, "L1", "auto")
    remember(path, second, "auto")

    assert recall(path, "auto").depths == second
    assert recall(path, "auto").chosen == "L1"
    assert math.isnan(recall(path, "cpu").row("L1").iou)
    assert recall(path, "cpu").chosen == ""
    assert recall(path, "cuda") is None


@pytest.mark.parametrize("content", ["", "[]", '{"auto": {"depths": 3}}', "\x00", '{"a":'])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, content: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(content)

    assert recall(path, "auto") is None
    remember(path, depths_of(row("L1", 0.5, 1)), "auto")
    assert recall(path, "auto") is not None
