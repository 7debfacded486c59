"""`evaluate`: images with labels in, a table of every head's quality and cost out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from napari_unetpp.atomic import write_atomically
from napari_unetpp.cli.console import cells, progress_bar, results, say
from napari_unetpp.cli.options import (
    DepthOption,
    DeviceOption,
    ForceOption,
    ImagesArgument,
    LabelsArgument,
    ModelOption,
    load_for,
)
from napari_unetpp.errors import UserError
from napari_unetpp.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari_unetpp.evaluation.scores import Evaluation, Scores

GROUP_COLUMNS = ("group", "modality")


def evaluate(
    images: ImagesArgument,
    labels: LabelsArgument,
    *,
    model: ModelOption = DEFAULT_MODEL,
    depth: DepthOption = None,
    threshold: Annotated[
        float, typer.Option(help="Probability from which a pixel belongs to the mask.")
    ] = 0.5,
    device: DeviceOption = "auto",
    groups: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Table with the columns id (file name without ending) and group (or modality).",
        ),
    ] = None,
    recommend: Annotated[
        bool, typer.Option("--recommend", help="Say which head is good enough, and cheapest.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="IoU points that the recommended head may lose against the best, by default 0.5; "
            "implies --recommend.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there too.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Compare the masks of each head with labels: IoU, Dice, F1 of instances, time, parameters.

    All pixels and all instances of all images are one figure each, and so for each group. F1 is
    over instances that match with an IoU of 0.5. The time is that of the network alone; the memory
    is counted, for the tile that was timed.
    """
    from napari_unetpp.evaluation.recommend import TOLERANCE, check_tolerance
    from napari_unetpp.files import check_free, find_pairs

    wanted = TOLERANCE if recommend and tolerance is None else tolerance
    if wanted is not None:
        check_tolerance(wanted)
    pairs = find_pairs(images, labels)
    group_of = read_groups(groups) if groups else None
    if json_file is not None:
        check_free(json_file, force=force)

    from napari_unetpp.evaluation.evaluate import evaluate as run
    from napari_unetpp.inference.options import SegmentOptions

    options = SegmentOptions(depth=depth, device=device)
    loaded = load_for(model, options, threshold)
    with progress_bar() as bar:
        task = bar.add_task("Images", total=len(pairs), note="")
        evaluation = run(
            pairs,
            loaded,
            options=options,
            threshold=threshold,
            groups=group_of,
            progress=lambda done, count: bar.update(task, completed=done, note=f"of {count}"),
        )
    figures = evaluation.as_dict()
    if wanted is not None:
        figures["recommended"] = _recommended(evaluation, wanted)
    _show(evaluation, loaded.spec.dims, figures.get("recommended"))
    if json_file is not None:
        write_atomically(json_file, json.dumps(figures, indent=2).encode())
        say(f"The figures are in {json_file}.")


def read_groups(path: Path) -> dict[str, str]:
    """The group of each image, by its file name without the ending.

    Raises
    ------
    UserError
        If the file can't be read as a table with an id and a group.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = table.fieldnames or ()
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The groups can't be read from {path} ({error}).") from error
    column = next((name for name in GROUP_COLUMNS if name in columns), None)
    if column is None or "id" not in columns:
        raise UserError(
            f"{path.name} has the columns {', '.join(columns) or 'none'}; groups need id, and "
            f"{' or '.join(GROUP_COLUMNS)}."
        )
    return {row["id"]: row[column] for row in rows}


def _recommended(evaluation: Evaluation, tolerance: float) -> dict[str, Any]:
    from napari_unetpp.evaluation.recommend import DepthRow, recommend, sentence

    if not any(head.scores.objects for head in evaluation.heads):
        raise UserError(
            "No label marks an object, so no head can be recommended: give images with objects."
        )
    rows = [DepthRow(h.head, h.scores.iou, h.scores.dice, h.cost) for h in evaluation.heads]
    chosen = recommend(rows, tolerance)
    assert chosen is not None
    return {"head": chosen.head, "tolerance": tolerance, "why": sentence(rows, tolerance)}


def _show(evaluation: Evaluation, dims: int, recommended: dict[str, Any] | None) -> None:
    first = evaluation.heads[0]
    title = f"{evaluation.model} on {evaluation.device}, {_images(first.scores)}"
    unit = "megapixel" if dims == 2 else "megavoxel"
    table = _table(title, f"ms/{unit}", "MB/tile", "parameters")
    for head in evaluation.heads:
        cost = head.cost
        table.add_row(
            *cells(
                head.head,
                *_figures(head.scores),
                f"{cost.milliseconds_per_megapixel:.0f}",
                f"{cost.memory / 1e6:.0f}",
                f"{cost.parameters:,}",
            ),
            style="bold" if recommended and recommended["head"] == head.head else None,
        )
    results.print(table)
    for group in first.groups if len(first.groups) > 1 else ():
        table = _table(f"{group}, {_images(first.groups[group])}")
        for head in evaluation.heads:
            table.add_row(*cells(head.head, *_figures(head.groups[group])))
        results.print(table)
    if recommended:
        results.print(f"Recommended: {recommended['head']}. {recommended['why']}", highlight=False)


def _table(title: str, *columns: str) -> Table:
    table = Table("head", title=Text(title), title_justify="left")
    for name in ("IoU", "Dice", "F1", *columns):
        table.add_column(name, justify="right")
    return table


def _images(scores: Scores) -> str:
    return "1 image" if scores.images == 1 else f"{scores.images} images"


def _figures(scores: Scores) -> tuple[str, str, str]:
    return f"{scores.iou:.3f}", f"{scores.dice:.3f}", f"{scores.f1:.3f}"
