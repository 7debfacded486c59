"""`models`: what there is, in and out of the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from napari_unetpp.cli.console import cells, results, say
from napari_unetpp.cli.options import ForceOption
from napari_unetpp.errors import UserError
from napari_unetpp.models import Store, load_model

if TYPE_CHECKING:
    from napari_unetpp.models import HistoryEntry
    from napari_unetpp.models.file import Model
    from napari_unetpp.network import Architecture

models = typer.Typer(no_args_is_help=True, help="List, show, import, export and remove models.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of a model, see `models list`.")]


@models.command("list")
def list_models() -> None:
    """List the models: those that come with napari-unetpp, and yours."""
    store = Store()
    table = Table("name", "whose", "heads", "channels", "description")
    for name in store.names():
        whose = "shipped" if store.is_shipped(name) else "yours"
        try:
            spec = store.spec(name)
        except UserError as error:
            table.add_row(*cells(name, whose, "", "", str(error)))
        else:
            table.add_row(
                *cells(name, whose, spec.heads_in_words, str(spec.in_channels), spec.description)
            )
    results.print(table)
    say(f"Yours are kept in {store.folder}.")


@models.command()
def info(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of a model, or its .safetensors file.")
    ],
) -> None:
    """Show what a model is, where it comes from, and what was done with it."""
    model = load_model(name)
    facts = Table.grid(padding=(0, 2))
    for key, value in _facts(model).items():
        facts.add_row(*cells(key, value))
    results.print(facts)
    for entry in model.spec.history:
        _show_entry(entry)


@models.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model that was exported.")],
    name: Annotated[str | None, typer.Option(help="Another name than that in the file.")] = None,
) -> None:
    """Take a model file into your models."""
    say(f"The model {Store().add(file, name)!r} is one of yours now.")


@models.command()
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The .safetensors file to write.")],
    force: ForceOption = False,
) -> None:
    """Copy a model to a file, to give it away. For programs but napari-unetpp see `export`."""
    Store().export(name, file, force=force)
    say(f"The model {name!r} is in {file}.")


@models.command()
def remove(name: Name) -> None:
    """Delete one of your models for good."""
    Store().remove(name)
    say(f"The model {name!r} is removed.")


def _facts(model: Model) -> dict[str, str]:
    from napari_unetpp.evaluation.depths import parameter_count

    spec = model.spec
    normalisation = spec.normalisation
    counts = {k: parameter_count(model.network.pruned(k)) for k in spec.heads}
    return {
        "name": spec.name,
        "description": spec.description or "none",
        "licence": spec.licence or "not stated",
        "origin": spec.origin or "not stated",
        "sha256": model.digest,
        "channels": str(spec.in_channels),
        "classes": ", ".join(spec.classes),
        "dimensions": f"{spec.dims}D",
        **_kinds(spec.architecture),
        "heads": spec.heads_in_words,
        "widths": ", ".join(map(str, spec.widths)),
        "norm": spec.norm or "none",
        "normalisation": f"percentiles {normalisation.low:g} and {normalisation.high:g}, "
        f"background {normalisation.background}, gamma {normalisation.gamma}",
        "parameters": ", ".join(f"L{k} {count:,}" for k, count in counts.items()),
        "file format": str(spec.format),
    }


def _kinds(architecture: Architecture) -> dict[str, str]:
    """The network by its name, and each of its parts."""
    groups = f", {architecture.groups} groups" if architecture.block == "grouped" else ""
    return {
        "network": architecture.kind.name,
        "skip": architecture.skip,
        "block": f"{architecture.block}{groups}",
        "down": architecture.down,
        "up": architecture.up,
    }


def _show_entry(entry: HistoryEntry) -> None:
    results.print(f"\n{entry.action}, {entry.when}", markup=False, highlight=False)
    if entry.parent is not None:
        results.print(f"parent {entry.parent}", markup=False, highlight=False)
    facts = Table.grid(padding=(0, 2))
    for key, values in (entry.settings | {"scores": entry.scores} | entry.software).items():
        facts.add_row(*cells(f"  {key}", _in_short(values)))
    results.print(facts)


def _in_short(value: object) -> str:
    """A value of JSON in one line, with four decimals."""
    if isinstance(value, str):
        return value
    return json.dumps(json.loads(json.dumps(value), parse_float=lambda x: round(float(x), 4)))
