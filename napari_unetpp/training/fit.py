"""Train a network on samples: the one visible training loop."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from napari_unetpp.errors import UserError
from napari_unetpp.inference.devices import (
    Device,
    prepared,
    training_format,
    tune_allocator,
)
from napari_unetpp.network import UNetPlusPlus
from napari_unetpp.training.augment import draw_patch
from napari_unetpp.training.checkpoint import load_checkpoint, save_checkpoint
from napari_unetpp.training.loss import deep_supervision_loss
from napari_unetpp.training.options import FitOptions, patch_for
from napari_unetpp.training.samples import Sample, draw_probabilities
from napari_unetpp.training.schedule import Schedule
from napari_unetpp.training.validate import Scores, validate


@dataclass(frozen=True)
class FitEvent:
    """What happened in one step.

    Attributes
    ----------
    step, steps : int
        Done, and at the most.
    loss : float
        Of this batch.
    seconds : float
        Since the start, earlier runs counted in.
    scores : Scores, optional
        After this step's validation, if there was one.
    is_best : bool
        Whether that validation was the best so far.
    """

    step: int
    steps: int
    loss: float
    seconds: float
    scores: Scores | None = None
    is_best: bool = False


class Fit:
    """One training run.

    Parameters
    ----------
    network : UNetPlusPlus
        Trained in place; use `best` for the result.
    train, validation : sequence of Sample
        Validation is measured with the averaged weights; without any there is no early stopping
        and the last weights are the best.
    options : FitOptions
        How.
    device : Device
        Where.
    probabilities : float array, optional
        How likely each sample is drawn; by default as `draw_probabilities` says.
    checkpoint : Path, optional
        Where the state is kept, after each `validate_every` steps and at a stop. If the file is
        there, the run resumes.

    Raises
    ------
    UserError
        If there is nothing to train on, or the checkpoint doesn't fit.
    """

    def __init__(
        self,
        network: UNetPlusPlus,
        train: Sequence[Sample],
        validation: Sequence[Sample],
        options: FitOptions,
        device: Device,
        *,
        probabilities: NDArray[np.float64] | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        if not train:
            raise UserError("There is nothing to train on: give at least one image with labels.")
        weights = options.head_weights
        if weights is not None and len(weights) != len(network.supervised):
            raise UserError(
                f"There are {len(weights)} head weights for {len(network.supervised)} heads: give "
                "one for each."
            )
        tune_allocator()
        self.options = options
        self.device = device
        self._format = training_format(device, network.dims)
        self.network = network.requires_grad_(True).to(device.kind)
        self.network.to(memory_format=self._format)  # type: ignore[call-overload]
        self.averaged = AveragedModel(
            self.network, multi_avg_fn=_mean_with_decay(options.averaging), use_buffers=True
        )
        self.best_scores: Scores | None = None
        self._best = self._averaged_network()
        self._patch = options.patch or patch_for(network.depth, network.dims)
        if len(self._patch) != network.dims:
            raise UserError(
                f"The patch has {len(self._patch)} sides, and the network {network.dims} spatial "
                "axes: give one side for each."
            )
        self._train = train
        self._probabilities = draw_probabilities(train) if probabilities is None else probabilities
        self._validation = validation
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), options.learning_rate, weight_decay=options.weight_decay
        )
        self._checkpoint = checkpoint
        self._schedule = Schedule(options)
        if checkpoint is not None and checkpoint.is_file():
            self._resume(load_checkpoint(checkpoint, self._modules, self._optimizer))

    @property
    def best(self) -> UNetPlusPlus:
        """The averaged network of the best validation so far (else the latest), on the CPU."""
        network = self._averaged_network() if self.best_scores is None else self._best
        return copy.deepcopy(network).cpu().eval()

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[FitEvent]:
        """Train; yields an event a step. `stop` is asked before each step."""
        schedule = self._schedule
        started = time.monotonic() - schedule.seconds
        with ThreadPoolExecutor(1) as pool:  # the next batch is drawn while this one is learnt
            upcoming = pool.submit(self._draw, schedule.step)
            while not (stop() or schedule.is_over):
                batch = upcoming.result()
                upcoming = pool.submit(self._draw, schedule.step + 1)
                loss = self._learn(*batch)
                schedule.step += 1
                schedule.seconds = time.monotonic() - started
                yield self._validated(loss) if schedule.is_due else self._event(loss)
        self._keep()  # a stop comes between validations

    def _learn(self, image: Tensor, mask: Tensor, weight: Tensor) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.learning_rate
        self.network.train()
        if self.options.frozen_norm:
            freeze_norm(self.network)
        with self._autocast():
            heads = self.network(image)
        weights = self.options.head_weights or (1.0,) * len(heads)
        loss = deep_supervision_loss(heads, mask, weight, weights)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self.averaged.update_parameters(self.network)
        return float(loss.detach())

    def _draw(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.options.seed, step])
        chosen = rng.choice(len(self._train), self.options.batch, p=self._probabilities)
        patches = [
            draw_patch(self._train[n], self._patch, self.options.augmentation, rng) for n in chosen
        ]
        parts = zip(*((p.image, p.mask, p.weight) for p in patches), strict=True)
        image, mask, weight = (
            torch.from_numpy(np.stack(part)).to(self.device.kind) for part in parts
        )
        return image.to(memory_format=self._format), mask, weight

    def _validated(self, loss: float) -> FitEvent:
        scores, is_best = None, False
        self._schedule.count_validations()
        if self._validation:
            started = time.monotonic()
            network = self._averaged_network()
            scores = validate(prepared(network, self.device), self._validation, self.device)
            is_best = self.best_scores is None or scores.mean > self.best_scores.mean
            if is_best:
                self._best, self.best_scores, self._schedule.since_best = network, scores, 0
            else:
                self._schedule.since_best += 1
            self._schedule.took(time.monotonic() - started)
        self._keep()
        return self._event(loss, scores, is_best)

    def _keep(self) -> None:
        if self._checkpoint is not None:
            save_checkpoint(self._checkpoint, self._modules, self._optimizer, self._state())

    def _event(self, loss: float, scores: Scores | None = None, best: bool = False) -> FitEvent:
        step, seconds = self._schedule.step, self._schedule.seconds
        return FitEvent(step, self.options.steps, loss, seconds, scores, best)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.device.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.kind, self.device.dtype)

    def _averaged_network(self) -> UNetPlusPlus:
        module = self.averaged.module
        assert isinstance(module, UNetPlusPlus)
        return copy.deepcopy(module)

    @property
    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "averaged": self.averaged, "best": self._best}

    def _state(self) -> dict[str, Any]:
        return {
            "step": self._schedule.step,
            "seconds": self._schedule.seconds,
            "since_best": self._schedule.since_best,
            "best_scores": None if self.best_scores is None else self.best_scores.as_dict(),
        }

    def _resume(self, state: dict[str, Any]) -> None:
        for name in ("step", "seconds", "since_best"):
            setattr(self._schedule, name, state[name])
        self.best_scores = None if state["best_scores"] is None else Scores(**state["best_scores"])
        self._schedule.count_validations()


def freeze_norm(network: nn.Module) -> None:
    """Have the batch norms use, and keep, the statistics that they have."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.eval()


def _mean_with_decay(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential mean whose memory grows from one step to `decay`'s: the start is forgotten."""

    @torch.no_grad()
    def average(means: list[Tensor], latest: list[Tensor], count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for mean, new in zip(means, latest, strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, share)
            else:
                mean.copy_(new)

    return average
