"""How long a step of training takes, with the channels last in memory and without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.common import (
    Floats,
    in_child,
    interleaved,
    precisions,
    ratio,
    seconds_of,
    the_model,
)
from benchmarks.sheet import Sheet

DEPTHS = (1, 2, 3, 4)
LAST, PLAIN = "channels last", "contiguous"


def sheets(*, rounds: int = 5) -> list[Sheet]:
    """Milliseconds of a step at each depth, as fine-tuning does it on this CPU.

    Parameters
    ----------
    rounds : int
        How often each is run, by turns.
    """
    precision = in_child(precisions)[-1]
    rows = []
    for depth in DEPTHS:
        times = in_child(measure, depth, rounds)
        last, plain = times[LAST], times[PLAIN]
        told = (f"{1000 * np.median(last):.0f}", f"{1000 * np.median(plain):.0f}")
        rows.append((f"L{depth}", *told, ratio(last, plain)[1]))
    return [
        Sheet(
            f"learning: a step, {precision}, CPU",
            ("trained to", f"{LAST}, ms", f"{PLAIN}, ms", "ratio"),
            rows,
            "Patches and batch as in fine-tuning; medians, ratios with quartiles.",
        )
    ]


def measure(depth: int, rounds: int) -> dict[str, Floats]:
    """Seconds of a step in either layout, shape ``(rounds, 1)``; loads torch."""
    import torch

    from napari_unetpp.inference.devices import memory_format
    from napari_unetpp.training import fit

    steps = {}
    for name, layout in ((LAST, memory_format(2)), (PLAIN, torch.contiguous_format)):
        with mock.patch.object(fit, "training_format", return_value=layout):
            steps[name] = _step(depth)
    return interleaved({name: partial(_timed, step) for name, step in steps.items()}, rounds)


def _timed(step: Callable[[], Any]) -> Sequence[float]:
    return [seconds_of(step)]


def _step(depth: int) -> Callable[[], Any]:
    """Gives a step a call."""
    from napari_unetpp.inference.devices import choose_device
    from napari_unetpp.training.fit import Fit
    from napari_unetpp.training.options import FINETUNE_FIT
    from napari_unetpp.training.samples import Sample

    rng = np.random.default_rng(0)
    image = rng.random((1, 384, 512), np.float32)
    mask = (image > 0.5).astype(np.uint8)
    sample = Sample(image, mask, np.ones_like(image), "noise")
    options = replace(FINETUNE_FIT, steps=1_000_000)
    fit = Fit(the_model().network.up_to(depth), [sample], [], options, choose_device("cpu"))
    return fit.run().__next__
