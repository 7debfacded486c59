"""What is said about a fine-tuning: what to do, how far it is, what came of it.

Plain records without torch, which go through a pipe as JSON: the fine-tuning runs in a process of
its own, the window in another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from napari_unetpp.models.spec import Frozen, Normalisation
from napari_unetpp.network.architecture import Architecture

Outcome = Literal["better", "not better", "unknown", "new"]
ScoresByKind = dict[str, dict[str, float]]
"""IoU by kind ("held out", "earlier") and head ("L1" …)."""

HELD_OUT, EARLIER = "held out", "earlier"
"""Kinds of places that are scored: of these corrections, and of those before them."""


class FinetuneTask(Frozen):
    """What to fine-tune, on what, and how.

    Attributes
    ----------
    model : Path
        The model's file.
    corrections : tuple of Path
        Files of a `CorrectionFolder`, to learn from; the others there are replayed.
    output : Path
        Where the new version goes.
    device : {"auto", "cpu", "cuda", "mps", "openvino"}
        Where to compute.
    minutes : float
        Time, all in all.
    depth : int, optional
        The deepest head of the new version.
    start : {"model", "nothing"}
        From the model's weights, or from random ones.
    architecture, widths, heads, classes, name : optional
        From nothing, another network or a model of its own; see `FinetuneOptions`.
    earlier_in : Path, optional
        The folder of the corrections that are replayed; by default that of the first to learn
        from.
    normalisation : Normalisation, optional
        How images were normalised, where the user chose it; else as the model says.
    """

    model: Path
    corrections: tuple[Path, ...]
    output: Path
    device: str = "auto"
    minutes: float = 2.0
    depth: int | None = None
    start: Literal["model", "nothing"] = "model"
    architecture: Architecture | None = None
    widths: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    classes: tuple[str, ...] | None = None
    name: str | None = None
    earlier_in: Path | None = None
    normalisation: Normalisation | None = None


class Verdict(Frozen):
    """What the gate says.

    Attributes
    ----------
    outcome : {"better", "not better", "unknown", "new"}
        Of versions just a better one is kept without being asked for; a new model takes no
        other's place, and is always kept.
    sentence : str
        Why, for the user.
    head : str
        The best head of the new version; empty if nothing could be measured.
    before, after : float, optional
        IoU on held-out corrections: of the best head of the old version, and of `head`.
    """

    outcome: Outcome
    sentence: str
    head: str = ""
    before: float | None = None
    after: float | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the result is kept without being asked for."""
        return self.outcome in ("better", "new")


class Result(Frozen):
    """What came of a fine-tuning, or would if it ended now.

    Attributes
    ----------
    verdict : Verdict
        Whether the new version is better.
    before, after : dict
        IoU by kind and head.
    seconds : float
        Since the start.
    steps : int
        Of training in the version.
    """

    verdict: Verdict
    before: ScoresByKind
    after: ScoresByKind
    seconds: float
    steps: int


class FinetuneEvent(Frozen):
    """How far a fine-tuning is.

    Attributes
    ----------
    step : int
        Steps done.
    fraction : float
        Of the time or the steps, 0 to 1.
    seconds : float
        Since the start.
    device, reason : str
        Where, in words, and why there.
    loss : float, optional
        Of the last batch.
    scores : dict, optional
        IoU by kind and head, after a validation.
    result : Result, optional
        If a version was just saved: what it is worth. The last one counts.
    notice : str
        A sentence for the user if something had to give way.
    """

    step: int
    fraction: float
    seconds: float
    device: str
    reason: str = ""
    loss: float | None = None
    scores: ScoresByKind | None = None
    result: Result | None = None
    notice: str = ""


class Message(Frozen):
    """One line from the child: it is ready, has an event, failed, or is done.

    Attributes
    ----------
    kind : {"ready", "event", "refused", "failed", "done"}
        "refused" is for the user to mend, "failed" is a bug.
    event : FinetuneEvent, optional
        Of an event.
    text : str
        The sentence, or the traceback of a bug.
    """

    kind: Literal["ready", "event", "refused", "failed", "done"]
    event: FinetuneEvent | None = None
    text: str = ""
