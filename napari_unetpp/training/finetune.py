"""From corrections to a new version of a model, measured on corrections that it has not seen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.devices import (
    Device,
    choose_device,
    is_out_of_memory,
    prepared,
    release_memory,
)
from napari_unetpp.inference.tiles import halo
from napari_unetpp.models.file import Model, save_model
from napari_unetpp.models.spec import HistoryEntry, ModelSpec
from napari_unetpp.network import UNetPlusPlus
from napari_unetpp.training.corrections import Correction
from napari_unetpp.training.fit import Fit, FitEvent
from napari_unetpp.training.gate import describe, enough, judge
from napari_unetpp.training.messages import (
    EARLIER,
    HELD_OUT,
    FinetuneEvent,
    Result,
    ScoresByKind,
    Verdict,
)
from napari_unetpp.training.options import FinetuneOptions, patch_for
from napari_unetpp.training.run import software
from napari_unetpp.training.samples import Sample
from napari_unetpp.training.start import origin_of, start, strips_of
from napari_unetpp.training.study import (
    Lesson,
    check_corrections,
    cut_out,
    lessons_of,
    settled,
    to_score,
)
from napari_unetpp.training.validate import Scores, validate

SAVE_EVERY = 10.0
"""Seconds between saves where nothing is held out, so that a kill loses little."""
SMALLEST_PATCH = {2: 64, 3: 16}
"""When memory runs out, patches get no smaller than this."""


def finetune(
    model: Model,
    corrections: Sequence[Correction],
    *,
    output: Path,
    earlier: Sequence[Correction] = (),
    options: FinetuneOptions | None = None,
    device: Device | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[FinetuneEvent]:
    """Fine-tune a model on corrections; yields an event a step.

    A part of the corrections is held out, by place (see `split_places`). The best version so far
    by their IoU is always in `output`, so that a fine-tuning that is killed loses nothing but
    what came after. The first event comes before the first step and has the scores of `model`.

    Parameters
    ----------
    model : Model
        To start from; it is not changed.
    corrections : sequence of Correction
        To learn from.
    output : Path
        Where the new version is saved.
    earlier : sequence of Correction
        Of the fine-tunings before this one: some are learnt again, and some are scored.
    options : FinetuneOptions, optional
        How.
    device : Device, optional
        Where; by default as `choose_device` says.
    stop : callable
        Asked before each step; True ends it, with the best so far.

    Raises
    ------
    UserError
        If nothing was corrected, all of it is background, or the corrections don't fit the model.
    """
    options = options or FinetuneOptions()
    if options.name is not None:  # it has learnt nothing before
        corrections, earlier = (*corrections, *earlier), ()
    check_corrections(corrections, model.spec)
    try:
        finetuning = _Finetuning(
            model, corrections, earlier, output, options, device or choose_device()
        )
    except MemoryError as error:
        raise UserError(
            "Memory ran out before the training began: close other programs, or correct fewer or "
            "smaller planes."
        ) from error
    return finetuning.events(stop)


class _Finetuning:
    """One fine-tuning; it remembers what gave way when memory ran out."""

    def __init__(
        self,
        model: Model,
        corrections: Sequence[Correction],
        earlier: Sequence[Correction],
        output: Path,
        options: FinetuneOptions,
        device: Device,
    ) -> None:
        self.started = time.monotonic()
        self.model, self.output = model, output
        self.corrections, self.earlier = corrections, earlier
        self.options, self.fit_options, self.device = options, options.fit, device
        self.notice = ""
        torch.manual_seed(options.fit.seed)
        highest = max(int(c.classes.max(initial=0)) for c in (*corrections, *earlier))
        self.spec, self.network = start(model, highest, options, device)
        normalisation = settled(self.spec.normalisation, (*corrections, *earlier))
        self.spec = self.spec.model_copy(update={"normalisation": normalisation})
        lessons = self._lessons(self.spec)
        self.lessons = [lesson for lesson in lessons if lesson.kind == HELD_OUT]
        self.replayed = [lesson for lesson in lessons if lesson.kind == EARLIER]
        self.held_out = self._scored(lessons)
        self.before: Scores | None = None
        self.can_tell: bool | None = None  # whether enough is held out
        self.best: Scores | None = None

    def _lessons(self, spec: ModelSpec) -> list[Lesson]:
        """From all corrections, the new ones first, as a model with this spec sees them."""
        kinds = [HELD_OUT] * len(self.corrections) + [EARLIER] * len(self.earlier)
        lessons, self.strips = lessons_of(
            (*self.corrections, *self.earlier),
            spec,
            kinds,
            strips_of(self.model.spec),
            new=[kind == HELD_OUT for kind in kinds],
        )
        return lessons

    def _scored(self, lessons: Sequence[Lesson]) -> list[Sample]:
        return [
            piece
            for kind in (HELD_OUT, EARLIER)
            for piece in to_score(
                [piece for one in lessons if one.kind == kind for piece in one.held_out],
                self.options.fit.seed,
            )
        ]

    def _scored_before(self) -> list[Sample]:
        """The same places as the old version sees them, which may take a background otherwise."""
        normalisation = self.model.spec.normalisation
        if normalisation == self.spec.normalisation:
            return self.held_out
        spec = self.spec.model_copy(update={"normalisation": normalisation})
        return self._scored(self._lessons(spec))

    def events(self, stop: Callable[[], bool]) -> Iterator[FinetuneEvent]:
        while True:
            try:
                yield from self._attempt(stop)
                return
            except (RuntimeError, MemoryError) as error:  # torch has no narrower class
                if not is_out_of_memory(error):
                    raise
            self._give_way()

    def _attempt(self, stop: Callable[[], bool]) -> Iterator[FinetuneEvent]:
        if self.can_tell is None:
            self._score_before()
            yield self._event(0, 0.0, scores=None if self.before is None else _kinds(self.before))
        # A network that is less deep sees less far around.
        context = halo(self.spec.depth, self.spec.architecture)
        held_out = [cut_out(sample, context) for sample in self.held_out]
        yield from self._fit(held_out if self.can_tell else [], stop)

    def _score_before(self) -> None:
        """Score the old version, and see whether that tells enough.

        One that finds more classes than a new model can't be compared with it.
        """
        old, classes = self.model.network, len(self.spec.classes)
        if old.classes > classes:
            self.can_tell = enough(self._validated(self.network, self.held_out))
            return
        self.before = self._validated(old.with_classes(classes), self._scored_before())
        self.can_tell = enough(self.before)

    def _fit(self, held_out: Sequence[Sample], stop: Callable[[], bool]) -> Iterator[FinetuneEvent]:
        learnt = [lesson.learnt for lesson in (*self.lessons, *self.replayed)]
        left = self.options.minutes - (time.monotonic() - self.started) / 60
        fit = Fit(
            self.network,
            learnt,
            held_out,
            replace(
                self.fit_options,
                minutes=max(left, 0.01),
                steps=self.options.steps or 1_000_000,
            ),
            self.device,
            probabilities=self._probabilities(),
        )
        step, saved = 0, self._seconds()
        for event in fit.run(stop):
            step = event.step
            result = None
            blindly = not held_out and self._seconds() - saved > SAVE_EVERY
            if self._is_best(event) or blindly:
                result = self._save(fit.best, event.scores, step)
                saved = self._seconds()
            yield self._event(
                step,
                max(step / event.steps, self._seconds() / 60 / self.options.minutes),
                loss=event.loss,
                scores=None if event.scores is None else _kinds(event.scores),
                result=result,
            )
        if self.best is None and step:  # stopped early, or nothing is held out
            scores = self._validated(fit.best, held_out)
            yield self._event(step, 1.0, result=self._save(fit.best, scores, step))

    def _is_best(self, event: FitEvent) -> bool:
        """Also of what was saved before memory ran out and it began anew."""
        if event.scores is None or not event.is_best:
            return False
        if self.best is not None and event.scores.mean <= self.best.mean:
            return False
        self.best = event.scores
        return True

    def _save(self, network: UNetPlusPlus, scores: Scores | None, steps: int) -> Result:
        before = {} if self.before is None else _kinds(self.before)
        after = {} if scores is None else _kinds(scores)
        verdict = self._verdict(scores)
        result = Result(
            verdict=verdict, before=before, after=after, seconds=self._seconds(), steps=steps
        )
        heads = {} if scores is None else dict(scores.kinds[HELD_OUT])
        entry = HistoryEntry(
            **origin_of(self.model, self.options, self.corrections),
            settings=self._settings(steps),
            scores={"heads": heads, "before": before, "after": after, "verdict": verdict.sentence},
            software=software(),
        )
        spec = self.spec.model_copy(update={"history": (*self.spec.history, entry)})
        save_model(network, spec, self.output)
        return result

    def _verdict(self, scores: Scores | None) -> Verdict:
        if self.options.name is None:
            return judge(self.before, scores)
        return describe(self.before, scores, name=self.options.name, other=self.model.spec.name)

    def _settings(self, steps: int) -> dict[str, Any]:
        settings = dataclasses.asdict(self.options)
        return {
            **settings,
            "trained_steps": steps,
            "seconds": round(self._seconds(), 1),
            "device": self.device.label,
            "patch": self._patch,
            "replayed": len(self.earlier),
            HELD_OUT: self.strips,
        }

    @property
    def _patch(self) -> tuple[int, ...]:
        return self.fit_options.patch or patch_for(self.spec.depth, self.spec.dims)

    def _probabilities(self) -> NDArray[np.float64]:
        """New ones and earlier ones by their shares; inside, each by the root of its known area."""
        parts = []
        for lessons, share in ((self.lessons, 1.0), (self.replayed, self.options.replay)):
            sizes = np.sqrt([np.count_nonzero(lesson.learnt.weight) for lesson in lessons])
            parts.append(sizes * (share / max(sizes.sum(), 1.0)))
        if self.replayed:
            parts[0] *= 1 - self.options.replay
        together = np.concatenate(parts)
        return np.asarray(together / together.sum(), np.float64)

    def _validated(self, network: UNetPlusPlus, samples: Sequence[Sample]) -> Scores | None:
        if not samples:
            return None
        return validate(prepared(network, self.device), samples, self.device)

    def _give_way(self) -> None:
        """Smaller patches; on a GPU, when these are small already, the CPU."""
        release_memory(self.device)
        side = min(self._patch) // 2
        if side >= SMALLEST_PATCH[self.spec.dims]:
            self.fit_options = replace(self.fit_options, patch=(side,) * self.spec.dims)
            self.notice = f"Memory ran out on {self.device.label}: patches of {side} pixels now."
        elif self.device.kind != "cpu":
            self.notice = f"Memory ran out on {self.device.label}: it goes on on the CPU."
            self.device, self.fit_options = choose_device("cpu"), self.options.fit
        else:
            raise UserError(
                "Memory ran out on the CPU even with small patches: close other programs, or "
                "fine-tune a smaller depth."
            )

    def _event(self, step: int, fraction: float, **fields: Any) -> FinetuneEvent:
        notice, self.notice = self.notice, ""
        return FinetuneEvent(
            step=step,
            fraction=min(fraction, 1.0),
            seconds=self._seconds(),
            device=self.device.label,
            reason=self.device.reason,
            notice=notice,
            **fields,
        )

    def _seconds(self) -> float:
        return time.monotonic() - self.started


def _kinds(scores: Scores) -> ScoresByKind:
    return {kind: dict(heads) for kind, heads in scores.kinds.items()}
