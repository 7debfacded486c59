"""The networks of the papers trained alike: how good, at what price, and what pruning gains."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.sheet import Sheet
from napari_unetpp.models.spec import ModelSpec
from napari_unetpp.network.architecture import NETWORKS, Architecture

if TYPE_CHECKING:
    from napari_unetpp.training.fit import FitEvent

LOG, TIMES = "paper.jsonl", "times.json"
"""In the folder: a line for each training, and how fast the networks are here."""
VALIDATIONS = 4
DEEPEST = 4
SIDE = 512
"""Of the plane for which arithmetic is counted."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A network of the papers.

    Attributes
    ----------
    name : str
        As the papers call it.
    preset : str
        One of `NETWORKS`.
    heads : tuple of int, optional
        Those supervised; by default all that there can be.
    published : float, optional
        IoU on nuclei in the paper, in percent (DLMIA 2018, table 3).
    """

    name: str
    preset: str
    heads: tuple[int, ...] | None = None
    published: float | None = None

    def spec(self, narrow: int = 1) -> ModelSpec:
        """What is trained; every width is divided by `narrow`."""
        preset = NETWORKS[self.preset]
        return ModelSpec(
            name=self.name.lower().replace(" ", "-").replace("+", "p"),
            architecture=Architecture(skip=preset.skip),
            widths=tuple(width // narrow for width in preset.widths),
            supervised=self.heads,
        )


CONTESTANTS = {
    one.name: one
    for one in (
        Contestant(name="U-Net", preset="u-net", published=90.77),
        Contestant(name="Wide U-Net", preset="wide-u-net", published=90.92),
        Contestant(name="UNet+", preset="unet+", heads=(DEEPEST,)),
        Contestant(name="UNet++", preset="unet++", heads=(DEEPEST,), published=92.63),
        Contestant(name="UNet++ supervised", preset="unet++", published=92.52),
    )
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training.

    Attributes
    ----------
    network : str
        One of `CONTESTANTS`.
    seed : int
        Of the weights and of the patches: with one seed all networks see the same ones.
    steps, batch, patch : int
        How many patches of which side.
    narrow : int
        Every width is divided by this.
    """

    network: str
    seed: int
    steps: int
    batch: int = 8
    patch: int = 192
    narrow: int = 1

    @property
    def file_name(self) -> str:
        """Of its model, without the ending."""
        name = CONTESTANTS[self.network].spec().name
        return f"{name}-{self.seed}-{self.steps}x{self.batch}-narrow{self.narrow}"


def plan(
    networks: Sequence[str], *, seeds: int, steps: int, batch: int, narrow: int
) -> list[Trial]:
    """All networks with a seed, then with the next: what is cut short is comparable, too."""
    return [
        Trial(network=network, seed=seed, steps=steps, batch=batch, narrow=narrow)
        for seed in range(seeds)
        for network in networks
    ]


def run(
    trials: Sequence[Trial], data: Path, folder: Path, *, jobs: int, device: str
) -> Iterator[dict[str, Any]]:
    """Do the trials that are not in the folder's log yet, each in a process of its own.

    Parameters
    ----------
    trials : sequence of Trial
        What to train.
    data : Path
        `dsb2018`, with the folders train, val and test.
    folder : Path
        For the log, the models, and the checkpoints from which a broken training goes on.
    jobs : int
        How many at once: more than one pays on a large GPU.
    device : str
        "auto", "cpu", "cuda" or "mps".

    Yields
    ------
    dict
        A line of the log, as soon as it is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG
    lines = log.read_text().splitlines() if log.is_file() else []
    done = {json.dumps(entry["trial"]): entry for entry in map(json.loads, lines)}
    wanted = {json.dumps(dataclasses.asdict(trial)): trial for trial in trials}
    yield from (done[key] for key in wanted if key in done)
    missing = [trial for key, trial in wanted.items() if key not in done]
    spawn = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        futures = [pool.submit(measure, trial, data, folder, device) for trial in missing]
        for future in as_completed(futures):
            entry = json.loads(json.dumps(future.result()))
            with log.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            yield entry


def measure(trial: Trial, data: Path, folder: Path, device_name: str) -> dict[str, Any]:
    """Train one network and score it on test; loads torch."""
    from napari_unetpp.evaluation.evaluate import evaluate
    from napari_unetpp.files import find_pairs
    from napari_unetpp.inference.devices import choose_device
    from napari_unetpp.inference.options import SegmentOptions
    from napari_unetpp.models.file import read_model

    device = choose_device(device_name)
    output = folder / f"{trial.file_name}.safetensors"
    if not is_trained(output):
        for _ in _training(trial, data, output, device):
            pass
    model = read_model(output)
    pairs = find_pairs(data / "test" / "images", data / "test" / "labels")
    found = evaluate(
        pairs, model, options=SegmentOptions(device=device_name), groups=_groups(data / "index.csv")
    )
    *_, last = map(json.loads, output.with_suffix(".log.jsonl").read_text().splitlines())
    return {
        "trial": dataclasses.asdict(trial),
        "device": device.label,
        "seconds": last["seconds"],
        "scores": {
            head.head: {
                name: {k: round(getattr(scores, k), 5) for k in ("iou", "dice", "f1")}
                for name, scores in {"all": head.scores, **head.groups}.items()
            }
            for head in found.heads
        },
    }


def is_trained(output: Path) -> bool:
    """Whether a training ended: it leaves the model, and no checkpoint to go on from."""
    return output.is_file() and not output.with_suffix(".checkpoint.safetensors").exists()


def _training(trial: Trial, data: Path, output: Path, device: Any) -> Iterator[FitEvent]:
    """As `napari-unetpp train` does it, but that no training ends before the others."""
    from napari_unetpp.training.options import FitOptions
    from napari_unetpp.training.run import TrainingData, train_model

    options = FitOptions(
        steps=trial.steps,
        batch=trial.batch,
        patch=(trial.patch, trial.patch),
        warm_up=min(100, trial.steps // 10 + 1),
        validate_every=max(1, trial.steps // VALIDATIONS),
        patience=VALIDATIONS + 1,
        seed=trial.seed,
    )
    folders = TrainingData(
        images=data / "train" / "images",
        labels=data / "train" / "labels",
        validation_images=data / "val" / "images",
        validation_labels=data / "val" / "labels",
    )
    spec = CONTESTANTS[trial.network].spec(trial.narrow)
    return train_model(folders, spec, options, device=device, output=output, force=True)


def _groups(index: Path) -> dict[str, str]:
    """The modality of each image, by its name."""
    rows = [line.split(",") for line in index.read_text().splitlines()[1:]]
    return {row[1]: row[2] for row in rows}


def sheets(
    entries: Sequence[dict[str, Any]], times: dict[str, dict[str, float]], where: str
) -> list[Sheet]:
    """What was found: each head of each network, and the differences seed by seed.

    Parameters
    ----------
    entries : sequence of dict
        Lines of the log, as `run` yields them.
    times : dict
        Of each network and head the milliseconds for a megapixel, see `paper_speed.times`.
    where : str
        The device of those times.
    """
    names = [name for name in CONTESTANTS if any(e["trial"]["network"] == name for e in entries)]
    rows = [row for name in names for row in _rows(name, entries, times.get(name, {}))]
    trial = entries[0]["trial"]
    seeds = len({entry["trial"]["seed"] for entry in entries})
    note = (
        f"Means over {seeds} seeds, the range in brackets; {trial['steps']} steps of "
        f"{trial['batch']} patches of {trial['patch']}² on {entries[0]['device']}; all test pixels "
        f"in one figure, as in the authors' code. Times on {where}. GFLOP at {SIDE}². Parameters "
        "with batch norms."
    )
    columns = (
        "network",
        "head",
        "parameters",
        "GFLOP",
        "IoU, %",
        "Dice, %",
        "F1 of instances, %",
        "ms a megapixel",
        "paper's IoU, %",
    )
    title = "paper: dsb2018/test"
    return [Sheet(title, columns, rows, note), *_differences(names, entries)]


def _rows(
    name: str, entries: Sequence[dict[str, Any]], times: dict[str, float]
) -> Iterator[tuple[str, ...]]:
    from benchmarks.paper_speed import counted

    of_network = [entry for entry in entries if entry["trial"]["network"] == name]
    spec = CONTESTANTS[name].spec(of_network[0]["trial"]["narrow"])
    costs = counted(spec)
    for head in of_network[0]["scores"]:
        parameters, arithmetic = costs.get(head, costs[f"L{DEEPEST}"])
        is_last = head == f"L{DEEPEST}"
        published = CONTESTANTS[name].published
        yield (
            name,
            head,
            f"{parameters:,}".replace(",", " "),
            f"{arithmetic * SIDE**2 / 1e9:.1f}",
            *(
                _mean([entry["scores"][head]["all"][figure] for entry in of_network])
                for figure in ("iou", "dice", "f1")
            ),
            f"{times[head]:.1f}" if head in times else "",
            f"{published:.2f}" if published and is_last else "",
        )


def _mean(values: Sequence[float]) -> str:
    """In percent, with the range where there are several."""
    mean = f"{100 * statistics.mean(values):.2f}"
    spread = f" ({100 * min(values):.2f}–{100 * max(values):.2f})" if len(values) > 1 else ""
    return mean + spread


def _differences(names: Sequence[str], entries: Sequence[dict[str, Any]]) -> Iterator[Sheet]:
    """IoU of L4 against U-Net's with the same seed, in points, by kinds of image."""
    ious = {
        (e["trial"]["network"], e["trial"]["seed"]): {
            kind: scores["iou"] for kind, scores in e["scores"][f"L{DEEPEST}"].items()
        }
        for e in entries
    }
    seeds = sorted({seed for _, seed in ious})
    kinds = list(next(iter(ious.values())))
    base, *others = names
    rows = []
    for name in others:
        both = [seed for seed in seeds if (name, seed) in ious and (base, seed) in ious]
        if not both:
            continue
        cells = []
        for kind in kinds:
            points = [100 * (ious[name, seed][kind] - ious[base, seed][kind]) for seed in both]
            each = ", ".join(f"{point:+.2f}" for point in points)
            cells.append(f"{statistics.mean(points):+.2f} ({each})")
        rows.append((name, *cells))
    if rows:
        yield Sheet(
            f"paper: IoU of L{DEEPEST} over that of {base}, in points",
            ("network", *kinds),
            rows,
            "The mean, and the difference with each seed: same patches, other network.",
        )
