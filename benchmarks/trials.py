"""Which fine-tunings are measured: how many planes, how deep, from what, painted how."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.painting import Paint

CASES = ("em", "embryo", "volume", "h&e", "rubbish", "forgetting")
PARTLY_PAINTED: tuple[Paint, ...] = ("half planes", "scribbles")
RUBBISH: tuple[Paint, ...] = ("shifted", "blobs")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One fine-tuning.

    Attributes
    ----------
    case : str
        "em", "embryo", "h&e", "fluorescence", "nuclei" or, for a model of volumes, "volume".
    corrected : int
        How many planes.
    paint : str
        How they are corrected.
    start : str
        "model" or "nothing".
    depth : int, optional
        The deepest head kept.
    minutes, steps
        The budget: time, or so many batches, whichever is over first.
    seed : int
        Of the painting and of the training.
    fit : dict
        Other settings of the training.
    earlier : str
        Case of which three planes were corrected before, and are replayed.
    scored : bool
        Whether it is scored elsewhere, too.
    also : str
        Case that is scored, too, before and after.
    """

    case: str
    corrected: int
    paint: Paint = "planes"
    start: str = "model"
    depth: int | None = None
    minutes: float = 2.0
    steps: int | None = None
    seed: int = 0
    fit: dict[str, Any] = dataclasses.field(default_factory=dict)
    earlier: str = ""
    scored: bool = True
    also: str = ""


def plan(case: str, minutes: float, seeds: int) -> list[Trial]:
    """The trials of a case: how many planes, how deep, from what, painted how."""
    if case == "rubbish":
        return _rubbish(minutes, seeds)
    if case == "forgetting":
        return _forgetting(minutes)
    counts = {"em": (4, 2, 1), "embryo": (4, 2), "volume": (4, 2), "h&e": (5, 3, 1)}[case]
    trial = Trial(case=case, corrected=counts[0], minutes=minutes)
    trials = [
        *(replace(trial, corrected=n) for n in counts),
        *(replace(trial, depth=k) for k in (3, 2, 1)),
        replace(trial, start="nothing"),
    ]
    if case == "h&e":  # images differ from one another more than sections do
        trials += [replace(trial, seed=seed) for seed in range(1, 5)]
    if case == "em":  # which is furthest from what the model knows
        trials += [
            *(replace(trial, paint=paint) for paint in PARTLY_PAINTED),
            replace(trial, fit={"frozen_norm": True}),
            replace(trial, depth=4),
        ]
    return trials


def _rubbish(minutes: float, seeds: int) -> list[Trial]:
    """What the gate has to refuse."""
    return [
        Trial(
            case="fluorescence",
            corrected=3,
            paint=paint,
            seed=seed,
            minutes=minutes,
            scored=False,
        )
        for seed in range(seeds)
        for paint in RUBBISH
    ]


def _forgetting(minutes: float) -> list[Trial]:
    """What is lost on nuclei by learning membranes, without and with nuclei corrected before."""
    trial = Trial(case="em", corrected=4, minutes=minutes, also="nuclei")
    return [trial, replace(trial, earlier="fluorescence")]
