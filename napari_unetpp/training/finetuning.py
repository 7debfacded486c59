"""One fine-tuning: start, learn, score, save what is best; and what gives way on the way."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

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
from napari_unetpp.training.gentle import halfway, is_as_good, rate_for
from napari_unetpp.training.material import Material
from napari_unetpp.training.messages import (
    HELD_OUT,
    FinetuneEvent,
    Result,
    ScoresByKind,
    Verdict,
)
from napari_unetpp.training.options import FinetuneOptions, patch_for
from napari_unetpp.training.run import software
from napari_unetpp.training.samples import Sample
from napari_unetpp.training.start import depth_on_cpu, origin_of, start, strips_of
from napari_unetpp.training.study import cut_out, settled
from napari_unetpp.training.validate import Scores, validate

SAVE_EVERY = 10.0
"""Seconds between saves where nothing is held out, so that a kill loses little."""
SMALLEST_PATCH = {2: 64, 3: 16}
"""When memory runs out, patches get no smaller than this."""


class Finetuning:
    """One fine-tuning; it remembers what gave way when memory ran out.

    Parameters
    ----------
    model, corrections, earlier, output, options
        As for `finetune`, checked.
    device : Device
        Where it begins.
    """

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
        self.material = self._as_seen_by(self.spec)
        self.scored: list[Sample] = []  # what is held out, as far as a network sees
        self.begun: UNetPlusPlus | None = None  # before anything is learnt, from a model
        self.before: Scores | None = None
        self.can_tell: bool | None = None  # whether enough is held out
        self.best: Scores | None = None

    def _as_seen_by(self, spec: ModelSpec) -> Material:
        strips, seed = strips_of(self.model.spec), self.options.fit.seed
        return Material.of(self.corrections, self.earlier, spec, strips, seed)

    def _held_out_before(self) -> list[Sample]:
        """The same places as the old version sees them, which may take a background otherwise."""
        normalisation = self.model.spec.normalisation
        if normalisation == self.spec.normalisation:
            return self.material.held_out
        spec = self.spec.model_copy(update={"normalisation": normalisation})
        return self._as_seen_by(spec).held_out

    def events(self, stop: Callable[[], bool]) -> Iterator[FinetuneEvent]:
        """Do it, step by step."""
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
            self._settle()
            yield self._event(0, 0.0, scores=None if self.before is None else _kinds(self.before))
        # A network that is less deep sees less far around.
        context = halo(self.spec.depth, self.spec.architecture)
        pieces = self.material.held_out if self.can_tell else []
        self.scored = [cut_out(sample, context) for sample in pieces]
        yield from self._fit(stop)

    def _score_before(self) -> None:
        """Score the old version, and see whether that tells enough.

        One that finds more classes than a new model can't be compared with it.
        """
        old, classes = self.model.network, len(self.spec.classes)
        if old.classes > classes:
            self.can_tell = enough(self._validated(self.network, self.material.held_out))
            return
        self.before = self._validated(old.with_classes(classes), self._held_out_before())
        self.can_tell = enough(self.before)

    def _settle(self) -> None:
        """How deep and how fast to learn hangs on how good the old version's heads are."""
        if self.options.start == "nothing":
            self.fit_options = replace(self.fit_options, last_rate=0.0)
            return
        if self.before is not None and self.can_tell:
            kinds = self.before.kinds
            rate = rate_for(self.fit_options.learning_rate, kinds[HELD_OUT])
            self.fit_options = replace(self.fit_options, learning_rate=rate)
            depth = depth_on_cpu(kinds)
            is_free = self.options.depth is None and self.device.kind == "cpu"
            if is_free and depth < self.spec.depth and depth in self.spec.heads:
                self.spec, self.network = self.spec.cut_to(depth), self.network.up_to(depth)
        self.begun = copy.deepcopy(self.network)

    def _nearer(
        self, network: UNetPlusPlus, scores: Scores | None
    ) -> tuple[UNetPlusPlus, Scores | None, bool]:
        """Half the way from the old version, where that is as good on what is held out; if so."""
        if self.begun is None or scores is None:
            return network, scores, False
        half = halfway(self.begun, network)
        found = self._validated(half, self.scored)
        if found is None or not is_as_good(found.kinds, scores.kinds):
            return network, scores, False
        return half, found, True

    def _fit(self, stop: Callable[[], bool]) -> Iterator[FinetuneEvent]:
        left = self.options.minutes - (time.monotonic() - self.started) / 60
        fit = Fit(
            self.network,
            self.material.learnt,
            self.scored,
            replace(
                self.fit_options,
                minutes=max(left, 0.01),
                steps=self.options.steps or 1_000_000,
            ),
            self.device,
            probabilities=self.material.probabilities(self.options.replay),
        )
        step, saved = 0, self._seconds()
        for event in fit.run(stop):
            step = event.step
            result = None
            blindly = not self.scored and self._seconds() - saved > SAVE_EVERY
            if self._is_best(event) or blindly:
                result = self._save(*self._nearer(fit.best, event.scores), step)
                saved = self._seconds()
            yield self._event(
                step,
                max(step / event.steps, self._seconds() / 60 / self.options.minutes),
                loss=event.loss,
                scores=None if event.scores is None else _kinds(event.scores),
                result=result,
            )
        if self.best is None and step:  # stopped early, or nothing is held out
            best = self._nearer(fit.best, self._validated(fit.best, self.scored))
            yield self._event(step, 1.0, result=self._save(*best, step))

    def _is_best(self, event: FitEvent) -> bool:
        """Also of what was saved before memory ran out and it began anew."""
        if event.scores is None or not event.is_best:
            return False
        if self.best is not None and event.scores.mean <= self.best.mean:
            return False
        self.best = event.scores
        return True

    def _save(
        self, network: UNetPlusPlus, scores: Scores | None, is_halfway: bool, steps: int
    ) -> Result:
        before = {} if self.before is None else _kinds(self.before)
        after = {} if scores is None else _kinds(scores)
        verdict = self._verdict(scores)
        result = Result(
            verdict=verdict, before=before, after=after, seconds=self._seconds(), steps=steps
        )
        heads = {} if scores is None else dict(scores.kinds[HELD_OUT])
        entry = HistoryEntry(
            **origin_of(self.model, self.options, self.corrections),
            settings={**self._settings(steps), "halfway": is_halfway},
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
            "learning_rate": self.fit_options.learning_rate,
            "patch": self._patch,
            "replayed": len(self.earlier),
            HELD_OUT: self.material.strips,
        }

    @property
    def _patch(self) -> tuple[int, ...]:
        return self.fit_options.patch or patch_for(self.spec.depth, self.spec.dims)

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
            self.device = choose_device("cpu")
            self.fit_options = replace(self.fit_options, patch=self.options.fit.patch)
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
