"""How right the shipped model is on the project's own images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.common import SAMPLES, in_child, model_in_words, sample_path, the_model
from benchmarks.sheet import Sheet

if TYPE_CHECKING:
    from napari_unetpp.evaluation.scores import Evaluation, Scores

TOGETHER = "all three"


def sheets(*, threshold: float = 0.5) -> list[Sheet]:
    """IoU, Dice and instance F1 of each head, for each sample and for all together.

    Parameters
    ----------
    threshold : float
        Probability from which a pixel belongs to a mask.
    """
    evaluation = in_child(measure, threshold)
    rows = [
        (head.head, name, *_figures(head.groups.get(name, head.scores)))
        for name in (*SAMPLES, TOGETHER)
        for head in evaluation.heads
    ]
    return [
        Sheet(
            f"samples: {model_in_words()}, {evaluation.device}",
            ("head", "sample", "IoU", "Dice", "F1"),
            rows,
            f"Threshold {threshold}; all pixels, and all instances (matched from an IoU of 0.5), "
            "in one figure.",
        )
    ]


def measure(threshold: float) -> Evaluation:
    """Evaluate the samples, each a group of its own; loads torch."""
    from napari_unetpp.evaluation.evaluate import evaluate
    from napari_unetpp.inference.options import SegmentOptions

    pairs = [(sample_path(name), sample_path(f"{name}_labels")) for name in SAMPLES]
    return evaluate(
        pairs,
        the_model(),
        options=SegmentOptions(device="cpu"),
        threshold=threshold,
        groups={name: name for name in SAMPLES},
    )


def _figures(scores: Scores) -> tuple[str, str, str]:
    return f"{scores.iou:.3f}", f"{scores.dice:.3f}", f"{scores.f1:.3f}"
