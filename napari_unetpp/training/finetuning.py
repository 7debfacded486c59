"""One fine-tuning: start, learn, score, save what is best; and what gives way on the way."""

from __future__ import annotations

import copy
import dataclasses
import math
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
    release_memory,
)
from napari_unetpp.models.file import Model, save_model
from napari_unetpp.models.spec import HistoryEntry, ModelSpec
from napari_unetpp.network import UNetPlusPlus
from napari_unetpp.training.corrections import Correction
from napari_unetpp.training.fit import Fit
from napari_unetpp.training.gentle import rate_for
from napari_unetpp.training.material import Material
from napari_unetpp.training.messages import HELD_OUT, FinetuneEvent, Result
from napari_unetpp.training.options import STEPS_A_MINUTE, FinetuneOptions, patch_for
from napari_unetpp.training.referee import Referee, by_kind
from napari_unetpp.training.run import software
from napari_unetpp.training.samples import Sample
from napari_unetpp.training.start import depth_on_cpu, origin_of, start, strips_of
from napari_unetpp.training.study import settled
from napari_unetpp.training.validate import Scores

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
        self.begun: UNetPlusPlus | None = None  # before anything is learnt, from a model
        self.referee = Referee(model, options.name, device)

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
        referee = self.referee
        if referee.can_tell is None:
            referee.score_before(self.network, self.material.held_out, self._held_out_before)
            self._settle()
            before = referee.before
            yield self._event(0, 0.0, scores=None if before is None else by_kind(before))
        referee.look_at(self.material.held_out, self.spec)
        yield from self._fit(stop)

    def _settle(self) -> None:
        """How deep and how fast to learn hangs on how good the old version's heads are."""
        if self.options.start == "nothing":
            self.fit_options = replace(self.fit_options, last_rate=0.0)
            return
        before = self.referee.before
        if before is not None and self.referee.can_tell:
            kinds = before.kinds
            rate = rate_for(self.fit_options.learning_rate, kinds[HELD_OUT])
            self.fit_options = replace(self.fit_options, learning_rate=rate)
            depth = depth_on_cpu(kinds)
            is_free = self.options.depth is None and self.device.kind == "cpu"
            if is_free and depth < self.spec.depth and depth in self.spec.heads:
                self.spec, self.network = self.spec.cut_to(depth), self.network.up_to(depth)
        self.begun = copy.deepcopy(self.network)

    def _fit(self, stop: Callable[[], bool]) -> Iterator[FinetuneEvent]:
        left = self.options.minutes - (time.monotonic() - self.started) / 60
        fit = Fit(
            self.network,
            self.material.learnt,
            self.referee.scored,
            replace(
                self.fit_options,
                minutes=max(left, 0.01),
                steps=self._most_steps,
            ),
            self.device,
            probabilities=self.material.probabilities(self.options.replay),
        )
        step, saved = 0, self._seconds()
        for event in fit.run(stop):
            step = event.step
            result = None
            blindly = not self.referee.scored and self._seconds() - saved > SAVE_EVERY
            if self.referee.is_best(event) or blindly:
                result = self._save(fit.best, event.scores, step)
                saved = self._seconds()
            yield self._event(
                step,
                max(step / event.steps, self._seconds() / 60 / self.options.minutes),
                loss=event.loss,
                scores=None if event.scores is None else by_kind(event.scores),
                result=result,
            )
        if self.referee.best is None and step:  # stopped early, or nothing is held out
            result = self._save(fit.best, self.referee.score(fit.best), step)
            yield self._event(step, 1.0, result=result)

    @property
    def _most_steps(self) -> int:
        """Where nothing but the time limits them, more than there is time for."""
        if self.options.steps is not None:
            return self.options.steps
        if self.device.kind == "cpu" or self.options.start == "nothing":
            return 1_000_000
        return math.ceil(STEPS_A_MINUTE * self.options.minutes)

    def _save(self, learnt: UNetPlusPlus, learnt_scores: Scores | None, steps: int) -> Result:
        referee = self.referee
        network, scores, is_halfway = referee.nearer(self.begun, learnt, learnt_scores)
        before, after, verdict = by_kind(referee.before), by_kind(scores), referee.verdict(scores)
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

    def _give_way(self) -> None:
        """Smaller patches; on a GPU, when these are small already, the CPU."""
        release_memory(self.device)
        side = min(self._patch) // 2
        if side >= SMALLEST_PATCH[self.spec.dims]:
            self.fit_options = replace(self.fit_options, patch=(side,) * self.spec.dims)
            self.notice = f"Memory ran out on {self.device.label}: patches of {side} pixels now."
        elif self.device.kind != "cpu":
            self.notice = f"Memory ran out on {self.device.label}: it goes on on the CPU."
            self.device = self.referee.device = choose_device("cpu")
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
