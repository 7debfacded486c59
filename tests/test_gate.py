"""The gate keeps what is better, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.training.gate import EARLIER, HELD_OUT, enough, judge, skill_of
from napari_unetpp.training.validate import Scores, iou_of

CELLS, AREA = 24, 64 * 64


def cells(iou: float, *, share: float = 0.3, count: int = CELLS, seed: int = 0) -> np.ndarray:
    """Counts of places where masks of the right size overlap with the truth by about `iou`."""
    rng = np.random.default_rng(seed)
    true = (AREA * share * rng.uniform(0.8, 1.2, count)).astype(int)
    overlap = (true * 2 * iou / (1 + iou) * rng.uniform(0.97, 1.0, count)).astype(int)
    return np.stack([overlap, true, true, np.full(count, AREA)], axis=1)


def scores(held_out: dict, earlier: dict | None = None) -> Scores:
    counted = {HELD_OUT: held_out} | ({} if earlier is None else {EARLIER: earlier})
    kinds = {kind: {h: iou_of(c) for h, c in heads.items()} for kind, heads in counted.items()}
    return Scores(kinds[HELD_OUT], kinds, counted)


def test_a_better_version_is_told_with_its_figures():
    before = scores({"L1": cells(0.2), "L2": cells(0.4)})
    after = scores({"L1": cells(0.7), "L2": cells(0.6)})
    verdict = judge(before, after)
    assert verdict.outcome == "better"
    assert verdict.head == "L1"  # the best head counts, whichever it is
    assert verdict.before == before.heads["L2"]
    assert verdict.after == after.heads["L1"]
    assert f"{verdict.before:.2f} → {verdict.after:.2f}" in verdict.sentence


@pytest.mark.parametrize("after", [0.50, 0.505, 0.4, 0.0])
def test_no_gain_is_not_better(after):
    verdict = judge(scores({"L1": cells(0.5)}), scores({"L1": cells(after)}))
    assert verdict.outcome == "not better"


def test_a_gain_at_one_place_alone_is_chance():
    before, after = cells(0.5, count=9), cells(0.5, count=9)
    after[:, 0] -= 20
    after[4] = (AREA, AREA, AREA, AREA)
    before[4] = (AREA // 9, AREA, AREA, AREA)
    gained = scores({"L1": after})
    assert gained.heads["L1"] > scores({"L1": before}).heads["L1"] + 0.05
    assert judge(scores({"L1": before}), gained).outcome == "not better"
    assert judge(scores({"L1": before[:4]}), scores({"L1": cells(0.7)[:4]})).outcome == "better"


def test_places_of_background_alone_say_nothing_against_a_gain():
    empty = np.array([[0, 0, 0, AREA]] * 7)  # a few cells in a large volume
    before, after = (scores({"L1": np.concatenate([cells(i, count=3), empty])}) for i in (0.6, 0.8))
    assert judge(before, after).outcome == "better"
    noisy = cells(0.6, count=3)
    noisy[0, 0] = noisy[0, 1]  # right in one place, and as before in the others
    unsure = judge(before, scores({"L1": np.concatenate([noisy, empty])}))
    assert unsure.outcome == "not better"
    assert unsure.sentence.startswith("Not surely better: ")


def test_masks_that_are_hit_by_chance_are_refused():
    chance = np.array([[int(AREA * 0.5 * 0.9), int(AREA * 0.9), AREA // 2, AREA]] * CELLS)
    after = scores({"L1": chance})
    assert after.heads["L1"] > 0.4  # whoever says "all of it" is right half of the time
    verdict = judge(scores({"L1": cells(0.1, share=0.5)}), after)
    assert verdict.outcome == "not better"
    assert "chance" in verdict.sentence


def test_earlier_corrections_must_not_pay():
    before = scores({"L1": cells(0.4)}, {"L1": cells(0.8)})
    forgetful = judge(before, scores({"L1": cells(0.7)}, {"L1": cells(0.7)}))
    assert forgetful.outcome == "not better"
    assert "earlier corrections lose 0.10" in forgetful.sentence
    assert judge(before, scores({"L1": cells(0.7)}, {"L1": cells(0.79)})).outcome == "better"
    assert judge(before, scores({"L1": cells(0.7)}, {"L1": cells(0.9)})).outcome == "better"


def test_a_small_gain_pays_for_a_smaller_loss_only():
    before = scores({"L1": cells(0.60)}, {"L1": cells(0.80)})
    after = scores({"L1": cells(0.62)}, {"L1": cells(0.775)})
    assert judge(before, after).outcome == "not better"


def test_of_each_version_its_best_head_is_compared_on_earlier_corrections():
    before = scores({"L1": cells(0.4), "L2": cells(0.3)}, {"L1": cells(0.5), "L2": cells(0.9)})
    after = scores({"L1": cells(0.3), "L2": cells(0.7)}, {"L1": cells(0.1), "L2": cells(0.5)})
    assert judge(before, after).outcome == "better"


FULL = scores({"L1": cells(0.5)})
TOO_LITTLE = {
    "nothing held out": (None, None),
    "just earlier ones": (Scores({}, {}, {EARLIER: {"L1": cells(0.5)}}),) * 2,
    "not measured": (FULL, None),
    "hardly a pixel": (scores({"L1": np.array([[40, 50, 60, AREA]])}),) * 2,
    "no background": (scores({"L1": np.array([[AREA, AREA, AREA, AREA]] * 9)}),) * 2,
    "no foreground": (scores({"L1": np.array([[0, 9, 0, AREA]] * 9)}),) * 2,
}


@pytest.mark.parametrize(("before", "after"), TOO_LITTLE.values(), ids=TOO_LITTLE)
def test_too_little_tells_nothing(before, after):
    verdict = judge(before, after)
    assert verdict.outcome == "unknown"
    assert "Too little" in verdict.sentence
    assert verdict.head == ""


def test_enough_is_known_before_the_training():
    assert enough(FULL)
    assert not enough(None)
    assert not enough(scores({"L1": cells(0.5)[:1]}))  # one place says nothing of others


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_skill_is_nothing_at_chance_and_one_when_all_is_right(predicted, true):
    size, truth, known = int(predicted * 10**6), int(true * 10**6), 10**6
    chance = np.array([[round(size * truth / known), size, truth, known]])
    assert skill_of(chance) == pytest.approx(0, abs=1e-3)
    perfect = np.array([[truth, truth, truth, known]])
    assert skill_of(perfect) == pytest.approx(1)


def test_the_seed_decides():
    before, after = scores({"L1": cells(0.5)}), scores({"L1": cells(0.52, seed=1)})
    assert judge(before, after, seed=3) == judge(before, after, seed=3)
