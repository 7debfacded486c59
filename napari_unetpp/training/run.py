"""From folders of images and labels to a model file."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_unetpp.errors import UserError
from napari_unetpp.files import find_pairs
from napari_unetpp.inference.devices import Device
from napari_unetpp.models.file import build_network, save_model
from napari_unetpp.models.spec import TRAINED, HistoryEntry, ModelSpec
from napari_unetpp.training.fit import Fit, FitEvent
from napari_unetpp.training.options import FitOptions, patch_for
from napari_unetpp.training.samples import Sample, load_samples

HELD_OUT = 0.1
"""Share of the images held out for validation where the user names none."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Where the images and labels are.

    Attributes
    ----------
    images, labels : Path
        Folders with files of the same names.
    validation_images, validation_labels : Path, optional
        The same, to choose the best weights on. Without them a tenth of the images is held out,
        at least one, if there are two or more.
    stains : int
        Random grey versions added of each colour image.
    """

    images: Path
    labels: Path
    validation_images: Path | None = None
    validation_labels: Path | None = None
    stains: int = 1

    def load(self, spec: ModelSpec, seed: int) -> tuple[list[Sample], list[Sample]]:
        """The samples to train on and those to validate on, never of the same image.

        Raises
        ------
        UserError
            As `find_pairs` and `load_samples`, or if just one of the validation folders is given.
        """
        pairs = find_pairs(self.images, self.labels)
        if (self.validation_images is None) != (self.validation_labels is None):
            raise UserError("Validation needs images and labels: give both folders or neither.")
        if self.validation_images is not None and self.validation_labels is not None:
            held_out = find_pairs(self.validation_images, self.validation_labels)
        else:
            order = np.random.default_rng(seed).permutation(len(pairs))
            count = max(1, round(HELD_OUT * len(pairs))) if len(pairs) > 1 else 0
            held_out = [pairs[n] for n in order[:count]]
            pairs = [pairs[n] for n in order[count:]]
        return (
            load_samples(pairs, spec, stains=self.stains, seed=seed),
            load_samples(held_out, spec),
        )


def train_model(
    data: TrainingData,
    spec: ModelSpec,
    options: FitOptions,
    *,
    device: Device,
    output: Path,
    half: bool = False,
    force: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[FitEvent]:
    """Train from nothing and keep the best weights in `output`; yields an event a step.

    Beside `output` a checkpoint is kept while the training runs: the same call goes on from it
    after a kill or a stop. Each validation is a line of ``<output>.log.jsonl``.

    Parameters
    ----------
    data : TrainingData
        What to learn from.
    spec : ModelSpec
        What to train.
    options : FitOptions
        How to train.
    device : Device
        Where.
    output : Path
        The model file, written at each best validation and at the end.
    half : bool
        Keep the weights in 16 bits.
    force : bool
        Replace `output` if it is a finished model.
    stop : callable
        Asked before each step; True ends the training, the best so far is kept.

    Raises
    ------
    UserError
        If the data can't be used or `output` exists and is not to be replaced.
    """
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    log = output.with_suffix(".log.jsonl")
    if output.exists() and not checkpoint.exists() and not force:
        raise UserError(f"{output} exists and is kept: choose another name or use --force.")
    train, validation = data.load(spec, options.seed)
    torch.manual_seed(options.seed)
    fit = Fit(build_network(spec), train, validation, options, device, checkpoint=checkpoint)

    def save() -> None:
        scores = {} if fit.best_scores is None else fit.best_scores.as_dict()
        entry = HistoryEntry(
            action=TRAINED,
            settings=_settings(data, options, device, spec),
            scores=scores,
            software=software(),
        )
        described = spec.model_copy(update={"history": (*spec.history, entry)})
        save_model(fit.best, described, output, half=half)

    for event in fit.run(stop):
        if event.scores is not None:
            _append(log, event)
            if event.is_best:
                save()
        yield event
    save()  # again, in case a kill came between checkpoint and model
    if not stop():  # else the checkpoint stays, to go on from
        checkpoint.unlink(missing_ok=True)


def _settings(
    data: TrainingData, options: FitOptions, device: Device, spec: ModelSpec
) -> dict[str, Any]:
    """How it was done, without the folders, which say nothing on another computer."""
    patch = options.patch or patch_for(spec.depth, spec.dims)
    settings = dataclasses.asdict(options) | {"patch": patch}
    return {**settings, "stains": data.stains, "device": device.label}


def software() -> dict[str, str]:
    """The versions of what a training depends on."""
    names = ("napari-unetpp", "torch", "numpy")
    known = {dist.metadata["Name"] for dist in importlib.metadata.distributions()}
    return {name: importlib.metadata.version(name) for name in names if name in known}


def _append(log: Path, event: FitEvent) -> None:
    assert event.scores is not None
    line = {
        "step": event.step,
        "seconds": round(event.seconds, 1),
        "loss": round(event.loss, 4),
        "best": event.is_best,
        **event.scores.as_dict(),
    }
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
