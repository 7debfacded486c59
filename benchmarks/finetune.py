"""What fine-tuning gains: simulated corrections in, IoU elsewhere before and after."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Plane, planes_of
from benchmarks.common import in_child
from benchmarks.painting import Paint, painted
from benchmarks.sheet import Sheet
from benchmarks.trials import Trial, plan
from napari_unetpp.inference.layout import Layout
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.models import Store
from napari_unetpp.models.header import SUFFIX, read_digest

if TYPE_CHECKING:
    from napari_unetpp.models.file import Model
    from napari_unetpp.training.corrections import Correction

HEADS = ("L1", "L2", "L3", "L4")


def run(trials: Sequence[Trial], data: Path, log: Path, model: str) -> Iterator[dict[str, Any]]:
    """Do the trials that are not in the log yet, each in a process of its own."""
    lines = log.read_text().splitlines() if log.is_file() else []
    done = {_key(entry): entry for entry in map(json.loads, lines)}
    digest = digest_of(model)

    def logged(entry: dict[str, Any], measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        entry = {"model": digest} | json.loads(json.dumps(entry))
        if (key := _key(entry)) not in done:
            done[key] = entry | measured()
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as file:
                file.write(json.dumps(done[key]) + "\n")
        return done[key]

    for trial in trials:
        result = logged(
            {"trial": dataclasses.asdict(trial)}, partial(in_child, measure, trial, data, model)
        )
        before = {
            case: logged({"before": case}, partial(in_child, score, case, data, model))["ious"]
            for case in (trial.case if trial.scored else "", trial.also)
            if case
        }
        yield result | {
            "before": before.get(trial.case, {}),
            "also_before": before.get(trial.also, {}),
        }


def _key(entry: dict[str, Any]) -> str:
    """What was measured, of a line of the log."""
    return json.dumps([entry["model"], entry.get("trial"), entry.get("before")])


def score(case: str, data: Path, model_name: str) -> dict[str, Any]:
    """A model as it is, on the planes of a case that are never corrected; loads torch."""
    from napari_unetpp.models.store import load_model

    return {"ious": ious(planes_of(case, 0, data, 0)[1], load_model(model_name))}


def digest_of(model: str) -> str:
    """SHA-256 of a model, by name or file: results of another one don't count."""
    path = Path(model)
    return read_digest(path if path.suffix == SUFFIX else Store().path(model))


def measure(trial: Trial, data: Path, model_name: str) -> dict[str, Any]:
    """One trial, whole; loads torch."""
    import torch

    from napari_unetpp.models.file import read_model
    from napari_unetpp.models.store import load_model
    from napari_unetpp.training.finetune import finetune
    from napari_unetpp.training.options import FINETUNE_FIT, FinetuneOptions

    torch.manual_seed(trial.seed)
    model = load_model(model_name)
    learnt, elsewhere = planes_of(trial.case, trial.corrected, data, trial.seed)
    corrections = _corrections(learnt, model, trial.paint, trial.seed)
    before = planes_of(trial.earlier, 3, data, trial.seed)[0] if trial.earlier else []
    options = FinetuneOptions(
        minutes=trial.minutes,
        steps=trial.steps,
        depth=trial.depth,
        start=trial.start,  # type: ignore[arg-type]
        fit=replace(FINETUNE_FIT, seed=trial.seed, **trial.fit),
    )
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "new.safetensors"
        curve, result = [], None
        events = finetune(
            model,
            corrections,
            output=output,
            earlier=_corrections(before, model, "planes", trial.seed),
            options=options,
        )
        for event in events:
            result = event.result or result
            if event.scores is not None:
                curve.append((round(event.seconds, 1), event.scores))
        assert result is not None
        new = read_model(output)
    return {
        "device": event.device,
        "verdict": result.verdict.model_dump(),
        "steps": event.step,
        "best_step": result.steps,
        "seconds": result.seconds,
        "heads": new.spec.depth,
        "after": ious(elsewhere, new) if trial.scored else {},
        "also_after": ious(planes_of(trial.also, 0, data, 0)[1], new) if trial.also else {},
        "curve": curve,
    }


def _corrections(
    planes: Sequence[Plane], model: Model, paint: Paint, seed: int
) -> list[Correction]:
    from napari_unetpp.training.slabs import slab_around

    rng = np.random.default_rng(seed)
    return [
        painted(
            plane.image,
            plane.truth,
            masks[-1],
            name=plane.name,
            index=plane.index,
            shape=plane.stack.data.shape,
            paint=paint,
            rng=rng,
            colour=Layout.of(plane.stack.data, plane.stack.axes).is_colour,
            slab=slab_around(
                plane.stack.data,
                Layout.of(plane.stack.data, plane.stack.axes, dims=model.spec.dims),
                plane.index,
                model.spec,
            ),
        )
        for plane, masks in zip(planes, _masks(planes, model), strict=True)
    ]


def ious(planes: Sequence[Plane], model: Model) -> dict[str, float]:
    """IoU of each head over all planes."""
    from napari_unetpp.evaluation.metrics import PixelCounts

    counts = [PixelCounts() for _ in range(model.spec.depth)]
    for plane, masks in zip(planes, _masks(planes, model), strict=True):
        for k, mask in enumerate(masks):
            counts[k] += PixelCounts.of(mask, plane.truth)
    return {f"L{k}": round(c.iou, 4) for k, c in enumerate(counts, start=1)}


def _masks(planes: Sequence[Plane], model: Model) -> Iterator[NDArray[np.uint8]]:
    """Of each plane what all heads find, ``(head, y, x)``; planes of a volume are all of one."""
    from napari_unetpp.inference.predict import segment

    if model.spec.dims == 3 and planes:
        stack = planes[0].stack
        masks = segment(stack.data, model, axes=stack.axes).masks()
        yield from (masks[:, *plane.index] for plane in planes)
        return
    for plane in planes:
        options = SegmentOptions(indices=[plane.index])
        found = segment(plane.stack.data, model, axes=plane.stack.axes, options=options)
        yield found.masks()[:, *plane.index]


def sheets(
    cases: Sequence[str], *, data: Path, log: Path, model: str, minutes: float, seeds: int
) -> list[Sheet]:
    """A table a case, filled from the log as far as that goes."""
    tables = []
    for case in cases:
        results = list(run(plan(case, minutes, seeds), data, log, model))
        tables.append(sheet_of(results, f"finetune: {case}, {minutes:g} minutes, from {model}"))
    return tables


def sheet_of(results: Sequence[dict[str, Any]], title: str) -> Sheet:
    """A row a trial; before, where it is scored elsewhere at all."""
    rows = []
    for result in results:
        trial = result["trial"]
        if result["before"] and not rows:
            rows.append(("before", "", "", *_cells(result["before"]), ""))
        depth = trial["depth"] or result["heads"]
        rows.append(
            (
                _words(trial),
                f"L{depth}",
                f"{result['best_step']} of {result['steps']}",
                *_cells(result["after"]),
                result["verdict"]["sentence"],
            )
        )
        if trial["also"]:
            rows.append((f"{trial['also']} before", "", "", *_cells(result["also_before"]), ""))
            rows.append((f"{trial['also']} after", "", "", *_cells(result["also_after"]), ""))
    return Sheet(title, ("corrected", "trained to", "steps", *HEADS, "best", "gate"), rows)


def _words(trial: dict[str, Any]) -> str:
    parts = [f"{trial['corrected']} {trial['paint']}"]
    if trial["seed"]:
        parts.append(f"seed {trial['seed']}")
    if trial["start"] == "nothing":
        parts.append("from random weights")
    parts += [f"{name} {value}" for name, value in trial["fit"].items()]
    if trial["earlier"]:
        parts.append(f"3 of {trial['earlier']} replayed")
    return ", ".join(parts)


def _cells(ious: dict[str, float]) -> tuple[str, ...]:
    """One a head, and the best."""
    best = f"{max(ious.values()):.3f}" if ious else ""
    return *(f"{ious[head]:.3f}" if head in ious else "" for head in HEADS), best
