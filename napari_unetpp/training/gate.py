"""Is the new version better? Decided on held-out corrections, in figures and in a sentence."""

from __future__ import annotations

import numpy as np

from napari_unetpp.training.messages import EARLIER, HELD_OUT, Outcome, Verdict
from napari_unetpp.training.validate import Cells, Scores, iou_of

SMALLEST_GAIN = 0.01
"""IoU points; less is no reason to change a model."""
LEAST_SKILL = 0.2
"""Share of the way from chance to perfect. Masks that have nothing to do with the image (shifted,
or blobs) are hit no better than by chance: whoever calls all foreground has an IoU, too."""
LARGEST_LOSS = 0.03
"""IoU points that earlier corrections may lose, if the new ones gain more."""
LEAST_PIXELS = 100
"""Of foreground and of background in the held-out places; with fewer nothing can be said."""
LEAST_CELLS = 2
"""Places of 64 pixels that are held out: one alone says nothing of others."""
RESAMPLES = 1000
CONFIDENCE = 0.95


def enough(scores: Scores | None) -> bool:
    """Whether there are enough held-out places, with enough of both foreground and background."""
    if scores is None or HELD_OUT not in scores.cells:
        return False
    cells = next(iter(scores.cells[HELD_OUT].values()))
    _, _, true, known = cells.sum(axis=0)
    return len(cells) >= LEAST_CELLS and bool(min(true, known - true) >= LEAST_PIXELS)


def judge(before: Scores | None, after: Scores | None, *, seed: int = 0) -> Verdict:
    """Compare two versions of a model on the same held-out places.

    The best head of the new version is better if it has `SMALLEST_GAIN` more IoU than the best
    head of the old one, if that holds for 95 % of the resampled sets of places (bootstrap over
    cells of 64 pixels, Efron, 1979), if it is well above chance, and if earlier corrections don't
    pay for it.

    Parameters
    ----------
    before, after : Scores, optional
        From `validate` with the same samples; none if nothing could be held out.
    seed : int
        Of the resampling.
    """
    if before is None or after is None or not enough(before):
        return Verdict(
            outcome="unknown",
            sentence="Too little was corrected to hold a part of it out, so nothing tells whether "
            "the new version is better: look at its masks, or correct more.",
        )
    old = max(before.kinds[HELD_OUT], key=before.kinds[HELD_OUT].__getitem__)
    new = max(after.kinds[HELD_OUT], key=after.kinds[HELD_OUT].__getitem__)
    cells = before.cells[HELD_OUT][old], after.cells[HELD_OUT][new]
    was, now = before.kinds[HELD_OUT][old], after.kinds[HELD_OUT][new]
    figures = f"IoU on held-out corrections {was:.2f} → {now:.2f}"
    outcome: Outcome = "not better"
    if now - was < SMALLEST_GAIN:
        sentence = f"Not better: {figures}."
    elif _surely_gained(*cells, seed) < CONFIDENCE:
        sentence = f"Not surely better: {figures}, but in too few places, or just in some of them."
    elif skill_of(cells[1]) < LEAST_SKILL:
        sentence = (
            f"Not better: {figures}, which is little more than chance, so the corrections don't "
            "seem to follow what is in the image."
        )
    elif (loss := _loss(before, after, old, new)) > min(LARGEST_LOSS, now - was):
        sentence = f"Not better: {figures}, but earlier corrections lose {loss:.2f}."
    else:
        outcome, sentence = "better", f"Better: {figures}."
    return Verdict(outcome=outcome, sentence=sentence, head=new, before=was, after=now)


def describe(before: Scores | None, after: Scores | None, *, name: str, other: str) -> Verdict:
    """Say what a new model is worth. It takes no other's place, so it is kept in any case.

    Parameters
    ----------
    before, after : Scores, optional
        Of the model `other` and of the new one, with the same samples; none if nothing could be
        held out, or `other` can't be compared with it.
    name, other : str
        Of the new model, and of that in use.
    """
    if after is None or not enough(after):
        sentence = (
            f"Too little was painted to hold a part of it out, so nothing tells how right {name} "
            "is: look at its masks, or paint more."
        )
        return Verdict(outcome="new", sentence=sentence)
    head = max(after.kinds[HELD_OUT], key=after.kinds[HELD_OUT].__getitem__)
    now, was = after.kinds[HELD_OUT][head], None
    figure = f"IoU {now:.2f} with {head} on what is held out"
    if before is not None and HELD_OUT in before.kinds:
        was = max(before.kinds[HELD_OUT].values())
    if skill_of(after.cells[HELD_OUT][head]) < LEAST_SKILL:
        sentence = (
            f"{name} learnt too little: {figure}, which is little more than chance. Give it more "
            "time, or paint more."
        )
    elif was is None:
        sentence = f"{name} has {figure}."
    elif now > was:
        sentence = f"{name} has {figure}, and {other} {was:.2f}."
    else:
        sentence = f"{name} has {figure}, but {other} {was:.2f}: use that, or give it more time."
    return Verdict(outcome="new", sentence=sentence, head=head, before=was, after=now)


def skill_of(cells: Cells) -> float:
    """How far the IoU is from chance (0) to perfect (1).

    Chance is what a mask of the same size would reach that has nothing to do with the truth.
    """
    overlap, predicted, true, known = (float(n) for n in cells.sum(axis=0))
    met = predicted * true / known
    chance = met / max(predicted + true - met, 1.0)
    iou = overlap / max(predicted + true - overlap, 1.0)
    return (iou - chance) / (1 - chance) if chance < 1 else 0.0


def _surely_gained(before: Cells, after: Cells, seed: int) -> float:
    """In which share of the resampled sets of places the new version is the better one.

    Sets in which there is nothing to find, and nothing was found, say nothing of either.
    """
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(before), np.full(len(before), 1 / len(before)), RESAMPLES)
    old, new = draws @ before, draws @ after
    gains = _ious(new) - _ious(old)
    tells = (_union(old) + _union(new)) > 0
    return float(np.mean(gains[tells] > 0)) if tells.any() else 0.0


def _ious(counts: Cells) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(counts[:, 0] / np.maximum(_union(counts), 1), np.float64)


def _union(counts: Cells) -> Cells:
    return np.asarray(counts[:, 1] + counts[:, 2] - counts[:, 0])


def _loss(before: Scores, after: Scores, old: str, new: str) -> float:
    """IoU points that earlier corrections lose; 0 if there are none."""
    if EARLIER not in before.cells:
        return 0.0
    return iou_of(before.cells[EARLIER][old]) - iou_of(after.cells[EARLIER][new])
