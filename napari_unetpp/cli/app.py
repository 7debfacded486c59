"""The commands together, and what holds for all of them."""

from __future__ import annotations

import io
import logging
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_unetpp import __version__
from napari_unetpp.cli.console import say
from napari_unetpp.cli.demo import demo
from napari_unetpp.cli.evaluate import evaluate
from napari_unetpp.cli.export import export
from napari_unetpp.cli.finetune import finetune
from napari_unetpp.cli.models import models
from napari_unetpp.cli.segment import segment
from napari_unetpp.cli.train import train
from napari_unetpp.errors import UserError

USER_ERROR = 2
"""Exit code for bad input, as typer has it for bad usage."""


class Commands(TyperGroup):
    """Tells the user's errors in one sentence; any other error is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command of the context (typer's, which has no public type)."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            say(str(error))
            raise typer.Exit(USER_ERROR) from error


app = typer.Typer(
    name="napari-unetpp",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",  # the other modes keep the line breaks of docstrings
    pretty_exceptions_enable=False,
)
for command in (segment, train, finetune, evaluate, export, demo):
    app.command()(command)
app.add_typer(models, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-unetpp {__version__}")
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show it, and end."),
    ] = False,
) -> None:
    """UNet++: segment images at four depths, train and fine-tune models, and measure them."""
    for name in ("napari_unetpp", "tifffile"):  # what matters of their logs is said in sentences
        logging.getLogger(name).addHandler(logging.NullHandler())


def main() -> None:
    """The entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # in a pipe Windows may know no arrows
            stream.reconfigure(errors="replace")
    app()
