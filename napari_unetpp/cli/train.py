"""`train`: folders of images and labels in, a model out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_unetpp.cli.console import progress_bar, say, until_interrupted
from napari_unetpp.cli.network import (
    BlockOption,
    DownOption,
    GroupsOption,
    HeadsOption,
    NetworkOption,
    SkipOption,
    UpOption,
    WidthsOption,
    network_fields,
    spec_of,
)
from napari_unetpp.cli.options import (
    ForceOption,
    ImagesArgument,
    LabelsArgument,
    LearningDeviceOption,
)
from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Dims
from napari_unetpp.models.spec import Normalisation
from napari_unetpp.network.architecture import Architecture

if TYPE_CHECKING:
    from napari_unetpp.training.fit import FitEvent
    from napari_unetpp.training.options import FitOptions

SUFFIX = ".safetensors"
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def train(
    images: ImagesArgument,
    labels: LabelsArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The model, a .safetensors file.")
    ],
    *,
    validation: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="IMAGES LABELS", help="To choose the best weights on; else a tenth is held out."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the model; else that of the file.")] = None,
    finds: Annotated[
        str, typer.Option(metavar="CLASS", help="What the mask shows, like nucleus.")
    ] = "foreground",
    description: Annotated[str, typer.Option(help="What the model is for.")] = "",
    origin: Annotated[str, typer.Option(help="Where the training images come from.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "",
    steps: Annotated[int, typer.Option(min=1, help="Batches at the most.")] = 4000,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Time at the most.")] = None,
    patch: Annotated[
        int | None,
        typer.Option(
            min=32,
            help="Side of a patch in pixels; by default 192 for L4, 128 for L3, 64 in volumes.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Patches in a step.")] = 6,
    learning_rate: Annotated[float, typer.Option(min=1e-7, help="The highest; of AdamW.")] = 1e-3,
    scale: Annotated[
        float, typer.Option(min=1.0, help="Objects are made up to so many times larger, smaller.")
    ] = 1.6,
    network: NetworkOption = "unet++",
    skip: SkipOption = None,
    block: BlockOption = "plain",
    groups: GroupsOption = Architecture.groups,
    down: DownOption = "max",
    up: UpOption = None,
    heads: HeadsOption = None,
    widths: WidthsOption = None,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Learn volumes (3D) rather than their planes.")
    ] = False,
    voxel_size: Annotated[
        str | None,
        typer.Option(
            metavar="Z,Y,X", help="Of the images in µm, like 0.5,0.5,0.5; for volumes only."
        ),
    ] = None,
    background: Annotated[
        Literal["auto", "dark", "bright"],
        typer.Option(help="Of the images; auto decides for each by its median."),
    ] = "auto",
    norm: Annotated[
        Literal["batch", "none"], typer.Option(help="Normalisation in the network.")
    ] = "batch",
    stains: Annotated[
        int, typer.Option(min=0, help="Random grey versions added of each colour image.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    device: LearningDeviceOption = "auto",
    half: Annotated[
        bool, typer.Option("--half", help="Keep the weights in 16 bits: half the file.")
    ] = False,
    patience: Annotated[
        int, typer.Option(min=1, help="Validations without a better score that end the training.")
    ] = 12,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps between validations.")] = 250,
    force: ForceOption = False,
) -> None:
    """Train a model of one grey channel and one class; colour is turned to grey.

    Other networks than UNet++ are a NETWORK of the papers, or are put together from SKIP, BLOCK,
    DOWN and UP; what doesn't go together is refused, with the reason.

    IMAGES and LABELS hold files of the same names; labels are masks or instances, 0 is
    background. Ctrl-C ends the training and keeps the best so far, and the same command goes on
    from there, also after a crash. The score of each validation is kept beside
    FILE, in a file that ends in .log.jsonl.
    """
    if output.suffix != SUFFIX:
        raise UserError(f"The model's file is {output.name!r}: give one that ends in {SUFFIX}.")
    dims: Dims = 3 if volumes else 2
    spec = spec_of(
        {
            "name": name or output.stem,
            **network_fields(
                network,
                skip=skip,
                block=block,
                groups=groups,
                down=down,
                up=up,
                widths=widths,
                heads=heads,
            ),
            "norm": None if norm == "none" else norm,
            "dims": dims,
            "voxel_size": None if voxel_size is None else _lengths(voxel_size, dims),
        }
    ).model_copy(
        update={
            "classes": (finds,),
            "description": description,
            "origin": origin,
            "licence": licence,
            "normalisation": Normalisation(background=background),
        }
    )

    from napari_unetpp.inference.devices import choose_device
    from napari_unetpp.training.augment import Augmentation
    from napari_unetpp.training.options import FitOptions
    from napari_unetpp.training.run import TrainingData, train_model

    options = FitOptions(
        steps=steps,
        minutes=minutes,
        patch=None if patch is None else (patch,) * spec.dims,
        batch=batch,
        learning_rate=learning_rate,
        augmentation=Augmentation(scale=scale),
        patience=patience,
        validate_every=validate_every,
        seed=seed,
    )
    held_out, held_out_labels = validation or (None, None)
    data = TrainingData(
        images=images,
        labels=labels,
        validation_images=held_out,
        validation_labels=held_out_labels,
        stains=stains,
    )
    where = choose_device(device)
    about = f"{spec.architecture.in_words()}, heads {spec.heads_in_words}"
    say(f"Training {spec.name} ({about}) on {where.label}: {where.reason}")
    with until_interrupted() as stop:
        events = train_model(
            data, spec, options, device=where, output=output, half=half, force=force, stop=stop
        )
        last = _follow(events, options)
        stopped = stop()
    if stopped:
        say(f"Stopped; the best so far is in {output}, and the same command goes on from there.")
        raise typer.Exit(INTERRUPTED)
    say(f"{spec.name} was trained for {last} steps: it is in {output}.")


def _lengths(voxel_size: str, dims: Dims) -> list[str]:
    if dims != 3:
        raise UserError("A voxel size is for volumes: give --volumes, or leave it out.")
    return voxel_size.split(",")


def _follow(events: Iterator[FitEvent], options: FitOptions) -> int:
    """Show a training; gives the number of its last step."""
    step, scores = 0, ""
    with progress_bar() as bar:
        task = bar.add_task("Training", total=1.0, note="")
        for event in events:
            step = event.step
            if event.scores is not None:
                scores = " ".join(f"{head} {iou:.3f}" for head, iou in event.scores.heads.items())
                best = ", the best so far" if event.is_best else ""
                say(f"Step {step} at {event.seconds:.0f} s: IoU {scores}{best}.")
            by_time = event.seconds / 60 / options.minutes if options.minutes else 0.0
            note = f"{step} of {event.steps} · loss {event.loss:.3f} · {scores}"
            bar.update(task, completed=max(step / event.steps, by_time), note=note)
    return step
