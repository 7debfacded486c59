"""Metrics by their laws, and evaluation against labels whose scores are known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.depths import costs_of, parameter_count
from napari_unetpp.evaluation.evaluate import evaluate
from napari_unetpp.evaluation.metrics import InstanceCounts, PixelCounts
from napari_unetpp.inference.devices import choose_device
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment

SHAPE = (48, 64)
LABELS = arrays(np.uint8, (6, 9), elements=st.integers(0, 4))


# --- metrics


@given(LABELS, LABELS)
def test_iou_and_dice_are_symmetric_and_bound_to_each_other(
    mask: NDArray[Any], truth: NDArray[Any]
) -> None:
    counts, swapped = PixelCounts.of(mask, truth), PixelCounts.of(truth, mask)

    assert counts.iou == swapped.iou
    assert 0 <= counts.iou <= counts.dice <= 1
    assert counts.dice == pytest.approx(2 * counts.iou / (1 + counts.iou))


@given(LABELS, LABELS)
def test_counts_of_parts_add_up_to_the_whole(mask: NDArray[Any], truth: NDArray[Any]) -> None:
    parts = PixelCounts.of(mask[:2], truth[:2]) + PixelCounts.of(mask[2:], truth[2:])

    assert parts == PixelCounts.of(mask, truth)


def test_pixel_scores_by_hand() -> None:
    mask, truth = np.array([[1, 1, 0, 0]]), np.array([[0, 7, 7, 7]])

    counts = PixelCounts.of(mask, truth)

    assert (counts.iou, counts.dice) == (1 / 4, 2 / 5)


def test_nothing_found_where_nothing_is_is_right() -> None:
    nothing = np.zeros((2, 3), np.uint8)

    assert PixelCounts.of(nothing, nothing).iou == PixelCounts.of(nothing, nothing).dice == 1
    assert InstanceCounts.of(nothing, nothing).f1 == 1


@given(LABELS)
def test_labels_match_themselves(labels: NDArray[Any]) -> None:
    counts = InstanceCounts.of(labels, labels)

    assert counts.matched == counts.true == np.count_nonzero(np.unique(labels))
    assert counts.f1 == 1


@given(LABELS, LABELS, st.permutations([1, 2, 3, 4]), st.floats(0.1, 1))
def test_numbers_of_instances_do_not_matter(
    found: NDArray[Any], truth: NDArray[Any], numbers: list[int], threshold: float
) -> None:
    renumbered = np.array([0, *numbers])[found] * 1000

    counts = InstanceCounts.of(found, truth, threshold)

    assert InstanceCounts.of(renumbered, truth, threshold) == counts
    assert InstanceCounts.of(truth, found, threshold).f1 == counts.f1
    assert counts.matched <= min(counts.predicted, counts.true)


@given(LABELS, LABELS)
def test_a_stricter_threshold_matches_no_more(found: NDArray[Any], truth: NDArray[Any]) -> None:
    matched = [InstanceCounts.of(found, truth, t).matched for t in (0.1, 0.3, 0.5, 0.7, 1.0)]

    assert matched == sorted(matched, reverse=True)


def test_instance_scores_by_hand() -> None:
    truth = np.array([[1, 1, 1, 1, 0, 2, 2, 0, 3, 3]])
    found = np.array([[5, 5, 5, 0, 0, 0, 6, 6, 6, 0]])  # IoU 3/4; 1/4 with 2 and with 3

    assert InstanceCounts.of(found, truth, 0.5) == InstanceCounts(1, 2, 3)
    assert InstanceCounts.of(found, truth, 0.25) == InstanceCounts(2, 2, 3)  # 6 is matched once


# --- evaluation


@pytest.fixture
def images(tmp_path: Path, tiny_model: Any) -> list[tuple[Path, Path]]:
    """A grey image and a colour one; the labels are what head L2 gives."""
    rng = np.random.default_rng(1)
    pairs = []
    for name, shape, axes in (("grey", SHAPE, "YX"), ("colour", (*SHAPE, 3), "YXC")):
        image = rng.integers(0, 255, shape, np.uint8)
        options = SegmentOptions(device="cpu")
        masks = segment(image, tiny_model, axes=axes, options=options).masks()
        pair = tmp_path / f"{name}.tif", tmp_path / f"{name}_labels.tif"
        photometric = "rgb" if "C" in axes else "minisblack"
        tifffile.imwrite(pair[0], image, photometric=photometric)
        tifffile.imwrite(pair[1], masks[1], photometric="minisblack")
        pairs.append(pair)
    return pairs


def test_head_that_made_the_labels_is_perfect(
    images: list[tuple[Path, Path]], tiny_model: Any
) -> None:
    seen: list[tuple[int, int]] = []

    result = evaluate(
        images,
        tiny_model,
        options=SegmentOptions(device="cpu"),
        progress=lambda done, count: seen.append((done, count)),
    )

    by_head = {head.head: head for head in result.heads}
    assert list(by_head) == ["L1", "L2", "L3", "ensemble"]
    assert (by_head["L2"].scores.iou, by_head["L2"].scores.dice) == (1, 1)
    assert by_head["L1"].scores.iou < 1
    assert by_head["L1"].scores.images == 2
    assert set(by_head["L1"].groups) == {"colour", "grey"}
    assert by_head["L1"].groups["grey"].images == 1
    assert seen == [(1, 2), (2, 2)]
    assert json.loads(json.dumps(result.as_dict()))["heads"][1]["scores"]["iou"] == 1


def test_groups_can_be_given(images: list[tuple[Path, Path]], tiny_model: Any) -> None:
    options = SegmentOptions(device="cpu", depth=1)

    result = evaluate(images, tiny_model, options=options, groups={"grey": "mouse"})

    assert [head.head for head in result.heads] == ["L1", "ensemble"]
    assert set(result.heads[0].groups) == {"mouse", "not listed"}


def test_touching_instances_count_each(tmp_path: Path, make_model: Any) -> None:
    """Two labels that touch can't be matched by one piece, whatever the pixels say."""
    import torch

    model = dataclasses.replace(make_model(), digest="of its own")
    with torch.no_grad():
        for classifier in model.network.classifiers.values():
            classifier.weight.zero_()
            classifier.bias.fill_(5.0)  # foreground everywhere
    truth = np.ones(SHAPE, np.uint16)
    truth[:, 32:] = 2
    tifffile.imwrite(tmp_path / "i.tif", np.eye(*SHAPE, dtype=np.uint8))
    tifffile.imwrite(tmp_path / "l.tif", truth)

    result = evaluate(
        [(tmp_path / "i.tif", tmp_path / "l.tif")], model, options=SegmentOptions(device="cpu")
    )

    assert result.heads[0].scores.iou == 1
    assert result.heads[0].scores.f1 < 1


def test_stack_with_several_classes_is_counted_by_class(tmp_path: Path, make_model: Any) -> None:
    model = make_model(classes=("nucleus", "border"))
    stack = np.random.default_rng(2).integers(0, 255, (2, *SHAPE), np.uint8)
    masks = segment(stack, model, axes="ZYX", options=SegmentOptions(device="cpu")).masks()
    tifffile.imwrite(tmp_path / "i.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "l.tif", masks[2], imagej=True, metadata={"axes": "ZYX"})

    result = evaluate(
        [(tmp_path / "i.tif", tmp_path / "l.tif")], model, options=SegmentOptions(device="cpu")
    )

    assert result.heads[2].scores.iou == 1


def test_labels_of_another_shape_are_named(tmp_path: Path, tiny_model: Any) -> None:
    tifffile.imwrite(tmp_path / "i.tif", np.zeros(SHAPE, np.uint8))
    tifffile.imwrite(tmp_path / "l.tif", np.zeros(SHAPE[::-1], np.uint8))

    with pytest.raises(UserError, match=r"l\.tif has shape \(64, 48\)"):
        evaluate([(tmp_path / "i.tif", tmp_path / "l.tif")], tiny_model)


def test_costs_grow_with_depth(tiny_model: Any) -> None:
    costs = costs_of(tiny_model, choose_device("cpu"), piece=(32, 48))

    parameters = [cost.parameters for cost in costs]
    assert parameters == [parameter_count(tiny_model.network.pruned(k)) for k in (1, 2, 3)]
    times = [cost.milliseconds_per_megapixel for cost in costs]
    assert times == sorted(times)
    assert times[0] > 0
