"""`demo`: the main job on a sample, in the viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_unetpp.cli.console import say
from napari_unetpp.errors import UserError


def demo(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Save the masks there.")
    ] = None,
    screenshot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Save a picture of the window, and close it."),
    ] = None,
) -> None:
    """Open napari with a sample, and segment it."""
    try:
        from napari_unetpp.widgets import run_demo
    except ImportError as error:
        raise UserError(
            f"The demo needs napari with a Qt binding ({error}): pip install 'napari-unetpp[all]'."
        ) from error
    run_demo(output, screenshot)
    for path in (output, screenshot):
        if path is not None:
            say(f"Saved: {path}")
