"""What fine-tuning gains: simulated corrections in, IoU elsewhere before and after."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import in_child
from benchmarks.painting import Paint, painted
from benchmarks.sheet import Sheet
from napari_unetpp.files import find_pairs, read_image
from napari_unetpp.inference.axes import Planes
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.models import Store
from napari_unetpp.models.header import SUFFIX, read_digest

if TYPE_CHECKING:
    from napari_unetpp.models.file import Model

EM_TEST = range(12, 22)
EM_SECTIONS = (0, 3, 6, 9)
EMBRYO_PLANES = (8, 20, 14, 28)
CASES = ("em", "embryo", "h&e", "rubbish")
PARTLY_PAINTED: tuple[Paint, ...] = ("half planes", "scribbles")
RUBBISH: tuple[Paint, ...] = ("shifted", "blobs")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One fine-tuning.

    Attributes
    ----------
    case : str
        "em", "embryo" or "h&e".
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


@dataclass(frozen=True)
class Plane:
    """A plane with its truth."""

    name: str
    image: NDArray[Any]  # (c, y, x)
    truth: NDArray[Any]  # (y, x)
    index: tuple[int, ...]
    shape: tuple[int, ...]


def run(trials: Sequence[Trial], data: Path, log: Path, model: str) -> Iterator[dict[str, Any]]:
    """Do the trials that are not in the log yet, each in a process of its own."""
    lines = log.read_text().splitlines() if log.is_file() else []
    done = {(r["model"], json.dumps(r["trial"])): r for r in map(json.loads, lines)}
    digest = digest_of(model)
    for trial in trials:
        settings = json.loads(json.dumps(dataclasses.asdict(trial)))
        key = digest, json.dumps(settings)
        if key not in done:
            result = {"model": digest, "trial": settings}
            result |= in_child(measure, trial, data, model)
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as file:
                file.write(json.dumps(result) + "\n")
            done[key] = result
        yield done[key]


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
    rng = np.random.default_rng(trial.seed)
    corrections = [
        painted(
            plane.image,
            plane.truth,
            _masks(plane, model)[-1],
            name=plane.name,
            index=plane.index,
            shape=plane.shape,
            paint=trial.paint,
            rng=rng,
        )
        for plane in learnt
    ]
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
        for event in finetune(model, corrections, output=output, options=options):
            result = event.result or result
            if event.scores is not None:
                curve.append((round(event.seconds, 1), event.scores))
        assert result is not None
        new = read_model(output)
    return {
        "verdict": result.verdict.model_dump(),
        "steps": result.steps,
        "seconds": result.seconds,
        "before": ious(elsewhere, model),
        "after": ious(elsewhere, new),
        "curve": curve,
    }


def ious(planes: Sequence[Plane], model: Model) -> dict[str, float]:
    """IoU of each head over all planes."""
    from napari_unetpp.evaluation.metrics import PixelCounts

    counts = [PixelCounts() for _ in range(model.spec.depth)]
    for plane in planes:
        for k, mask in enumerate(_masks(plane, model)):
            counts[k] += PixelCounts.of(mask, plane.truth)
    return {f"L{k}": round(c.iou, 4) for k, c in enumerate(counts, start=1)}


def planes_of(case: str, corrected: int, data: Path, seed: int) -> tuple[list[Plane], list[Plane]]:
    """Planes to correct, and planes elsewhere to score."""
    read: Callable[[Path, int, int], tuple[list[Plane], list[Plane]]]
    read = {"em": _em, "embryo": _embryo, "h&e": _histology, "fluorescence": _fluorescence}[case]
    return read(data, corrected, seed)


def _em(data: Path, corrected: int, seed: int) -> tuple[list[Plane], list[Plane]]:
    planes = _stack(data / "isbi2012" / "images.tif", data / "isbi2012" / "membranes.tif")
    return [planes[z] for z in EM_SECTIONS[:corrected]], [planes[z] for z in EM_TEST]


def _embryo(data: Path, corrected: int, seed: int) -> tuple[list[Plane], list[Plane]]:
    planes = _stack(data / "embryo3d" / "image.tif", data / "embryo3d" / "nuclei.tif")
    chosen = EMBRYO_PLANES[:corrected]
    near = {z + d for z in chosen for d in (-1, 0, 1)}
    return [planes[z] for z in chosen], [p for z, p in enumerate(planes) if z not in near]


def _histology(data: Path, corrected: int, seed: int) -> tuple[list[Plane], list[Plane]]:
    return _bowl(data, "histology", corrected, seed)


def _fluorescence(data: Path, corrected: int, seed: int) -> tuple[list[Plane], list[Plane]]:
    return _bowl(data, "fluorescence", corrected, seed)


def _bowl(data: Path, modality: str, corrected: int, seed: int) -> tuple[list[Plane], list[Plane]]:
    folder = data / "dsb2018"
    rows = [line.split(",") for line in (folder / "index.csv").read_text().splitlines()[1:]]
    ids = {row[1] for row in rows if row[2] == modality}

    def of(split: str) -> list[Plane]:
        pairs = find_pairs(folder / split / "images", folder / split / "labels")
        return [p for i, t in pairs if i.stem in ids for p in _stack(i, t)]

    train = of("train")
    chosen = np.random.default_rng(seed).permutation(len(train))[:corrected]
    return [train[n] for n in chosen], of("test")


def _stack(image_path: Path, truth_path: Path) -> list[Plane]:
    image, truth = read_image(image_path), read_image(truth_path)
    planes = Planes.of(image.data, image.axes)
    mix = channels_for(planes, 1)
    return [
        Plane(
            image_path.stem,
            np.asarray(mix(planes.take(image.data, index))),
            planes.result_plane(truth.data, index),
            index,
            planes.result_shape,
        )
        for index in planes.indices()
    ]


def _masks(plane: Plane, model: Model) -> NDArray[np.uint8]:
    from napari_unetpp.inference.predict import segment

    return segment(plane.image, model, axes="CYX").masks()


def plan(case: str, minutes: float) -> list[Trial]:
    """The trials of a case: how many planes, from what, how deep, painted how."""
    counts = {"em": (1, 2, 4), "embryo": (2, 4), "h&e": (1, 3, 5)}[case]
    most = counts[-1]
    return [
        *(Trial(case=case, corrected=n, minutes=minutes) for n in counts),
        *(Trial(case=case, corrected=most, depth=k, minutes=minutes) for k in (1, 2, 3, 4)),
        Trial(case=case, corrected=most, start="nothing", minutes=minutes),
        *(
            Trial(case=case, corrected=most, paint=paint, minutes=minutes)
            for paint in PARTLY_PAINTED
        ),
    ]


def rubbish(minutes: float, seeds: int) -> list[Trial]:
    """What the gate has to refuse."""
    return [
        Trial(case="fluorescence", corrected=3, paint=paint, seed=seed, minutes=minutes)
        for paint in RUBBISH
        for seed in range(seeds)
    ]


def sheets(
    cases: Sequence[str], *, data: Path, log: Path, model: str, minutes: float, seeds: int
) -> list[Sheet]:
    """A table a case, filled from the log as far as that goes."""
    tables = []
    for case in cases:
        trials = rubbish(minutes, seeds) if case == "rubbish" else plan(case, minutes)
        results = list(run(trials, data, log, model))
        tables.append(sheet_of(results, f"finetune: {case}, {minutes:g} minutes, from {model}"))
    return tables


def sheet_of(results: Sequence[dict[str, Any]], title: str) -> Sheet:
    """A row a trial."""
    rows = []
    for result in results:
        trial = result["trial"]
        before = ", ".join(f"{v:.3f}" for v in result["before"].values())
        after = ", ".join(f"{v:.3f}" for v in result["after"].values())
        depth = f"L{trial['depth']}" if trial["depth"] else "all"
        best = max(result["after"].values())
        rows.append(
            (
                trial["case"],
                f"{trial['corrected']} {trial['paint']}",
                trial["start"],
                depth,
                str(result["steps"]),
                before,
                after,
                f"{best:.3f}",
                result["verdict"]["outcome"],
            )
        )
    columns = ("case", "corrected", "from", "depth", "steps", "before", "after", "best", "gate")
    return Sheet(title, columns, rows)
