"""`finetune`: a model and labelled images in, a better version of the model out."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from napari_unetpp.cli.console import cells, progress_bar, results, say, until_interrupted
from napari_unetpp.cli.options import ImagesArgument, LabelsArgument, LearningDeviceOption
from napari_unetpp.errors import UserError
from napari_unetpp.models import Store, load_model
from napari_unetpp.training.messages import HELD_OUT

if TYPE_CHECKING:
    from napari_unetpp.models.file import Model
    from napari_unetpp.training.corrections import Correction
    from napari_unetpp.training.labels import LabelKind
    from napari_unetpp.training.messages import FinetuneEvent, Result
    from napari_unetpp.training.options import FinetuneOptions

NOT_KEPT = 3
"""Exit code when the new version isn't better, or nothing can tell, and it isn't kept."""


def finetune(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Name of a model (see `models list`), or a .safetensors file."
        ),
    ],
    images: ImagesArgument,
    labels: LabelsArgument,
    *,
    name: Annotated[
        str | None,
        typer.Option(metavar="NEW", help="Of the new model; else the next version, like nuclei+1."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Time at the most.")] = 2.0,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Batches at the most; by default 300 a minute on a GPU, from a model."
        ),
    ] = None,
    trust: Annotated[
        Literal["planes", "sparse"],
        typer.Option(
            help="planes: a plane with labels is right all over; sparse: 0 is not labelled, 1 is "
            "background, and 2, 3 … are the classes."
        ),
    ] = "planes",
    label_kind: Annotated[
        Literal["auto", "classes", "instances"],
        typer.Option(
            "--labels", help="What the numbers are; auto takes many numbers for instances."
        ),
    ] = "auto",
    depth: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The deepest head of the new model; by default MODEL's on a GPU, and L2 or L3 on "
            "a CPU, as its heads were good on what is held out.",
        ),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Random weights, in a network like MODEL's.")
    ] = False,
    device: LearningDeviceOption = "auto",
    keep_anyway: Annotated[
        bool, typer.Option("--keep-anyway", help="Keep the new model also if it isn't better.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
) -> None:
    """Fine-tune a model on your labels, and keep the result if it is better.

    IMAGES and LABELS hold files of the same names; only planes with labels are learnt from. A
    part of each image is held out: the new model is kept if it is better there, and if what
    earlier fine-tunings learnt doesn't suffer. MODEL itself stays as it is. Ctrl-C ends the
    training, and the best so far counts. What was learnt is kept beside your models, and is
    replayed the next time. The exit code is 3 if nothing is kept.
    """
    store = Store()
    if name is not None:
        store.free_path(name)  # a name that can't be is refused before the work, not after it
    kind = _kind(trust, label_kind)

    parent = load_model(model)
    corrections = _read(images, labels, parent, kind, device)

    from napari_unetpp.training.correction_folder import CorrectionFolder
    from napari_unetpp.training.options import FINETUNE_FIT, FinetuneOptions

    options = FinetuneOptions(
        minutes=minutes,
        steps=steps,
        depth=depth,
        start="nothing" if from_scratch else "model",
        fit=replace(FINETUNE_FIT, seed=seed),
    )
    folder = CorrectionFolder(store.corrections_folder(parent.spec.lineage(parent.digest)))
    earlier = folder.replayed(parent.spec.corrections, corrections)
    candidate = store.folder / f".finetuning-{secrets.token_hex(4)}.safetensors"
    try:
        result = _train(parent, corrections, earlier, candidate, options, device)
        if result is None:
            say("It was stopped before the first step: nothing is kept.")
            raise typer.Exit(NOT_KEPT)
        if result.verdict.outcome != "better" and not keep_anyway:
            _show(result)
            say(f"{result.verdict.sentence} Nothing is kept; --keep-anyway would keep it.")
            raise typer.Exit(NOT_KEPT)
        if name is None:
            kept = store.add_version(candidate, of=parent.spec.name)
        else:
            kept = store.add(candidate, name)
    finally:
        candidate.unlink(missing_ok=True)
    for correction in corrections:  # not before: those of a model that is refused teach nothing
        folder.save(correction)
    _show(result)  # when all is kept: nobody may be there to read it any more
    say(f"{result.verdict.sentence} The new model is {kept!r}, in {store.path(kept)}.")


def _kind(
    trust: Literal["planes", "sparse"], labels: Literal["auto", "classes", "instances"]
) -> LabelKind | Literal["auto"]:
    if trust == "planes":
        return labels
    if labels == "instances":
        raise UserError("Sparse labels are classes, not instances: leave --labels away.")
    return "scribbles"


def _read(
    images: Path, labels: Path, model: Model, kind: LabelKind | Literal["auto"], device: str
) -> list[Correction]:
    from napari_unetpp.files import find_pairs

    pairs = find_pairs(images, labels)

    from napari_unetpp.training.labelled import corrections_in

    corrections: list[Correction] = []
    with progress_bar() as bar:
        task = bar.add_task("Comparing", total=len(pairs), note="")
        for found in corrections_in(pairs, model, kind=kind, device=device):
            corrections += found
            bar.update(task, advance=1, note=f"{_planes(corrections)} with labels")
    if not corrections:
        raise UserError(f"There are no labels in {labels}, just 0: label what is to be found.")
    return corrections


def _train(
    model: Model,
    corrections: Sequence[Correction],
    earlier: Sequence[Correction],
    output: Path,
    options: FinetuneOptions,
    device: str,
) -> Result | None:
    from napari_unetpp.inference.devices import choose_device
    from napari_unetpp.training.finetune import finetune as run

    where = choose_device(device)
    with until_interrupted() as stop:
        events = run(
            model,
            corrections,
            output=output,
            earlier=earlier,
            options=options,
            device=where,
            stop=stop,
        )
        say(f"Fine-tuning {model.spec.name} on {where.label}: {where.reason}")
        replayed = f", and {_planes(earlier)} of before" if earlier else ""
        say(f"Learning from {_planes(corrections)}{replayed}.")
        return _follow(events)


def _follow(events: Iterator[FinetuneEvent]) -> Result | None:
    """Show a fine-tuning; gives what came of it."""
    result, scores = None, ""
    with progress_bar() as bar:
        task = bar.add_task("Fine-tuning", total=1.0, note="")
        for event in events:
            result = event.result or result
            if event.notice:
                say(event.notice)
            if event.scores is not None:
                heads = event.scores.get(HELD_OUT, {})
                scores = " ".join(f"{head} {iou:.3f}" for head, iou in heads.items())
                best = ", the best so far" if event.result is not None else ""
                say(f"Step {event.step} at {event.seconds:.0f} s: held-out IoU {scores}{best}.")
            loss = "" if event.loss is None else f" · loss {event.loss:.3f}"
            bar.update(task, completed=event.fraction, note=f"{event.step}{loss} · {scores}")
    return result


def _show(result: Result) -> None:
    """What each head was worth and is, if anything could be measured."""
    if not result.after:
        return
    table = Table("IoU", *result.after)
    for head in result.before[HELD_OUT]:
        columns = (_change(result, kind, head) for kind in result.after)
        table.add_row(*cells(head, *columns))
    results.print(table)


def _change(result: Result, kind: str, head: str) -> str:
    before, after = result.before[kind][head], result.after[kind].get(head)
    return f"{before:.2f} → " + ("none" if after is None else f"{after:.2f}")


def _planes(corrections: Sequence[Correction]) -> str:
    return "1 plane" if len(corrections) == 1 else f"{len(corrections)} planes"
