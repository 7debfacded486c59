"""`export`: one head of a model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_unetpp.cli.console import say
from napari_unetpp.cli.options import ForceOption
from napari_unetpp.errors import UserError
from napari_unetpp.export.options import SUFFIXES, ExportOptions, Format
from napari_unetpp.models import Store, load_model, model_file
from napari_unetpp.models.header import read_spec

MAKERS = "napari-unetpp contributors"
"""The authors of the models that are shipped."""


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of a model, or a .safetensors file.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write, .onnx, .pt2 or .zip; or the folder for it, if there is one.",
        ),
    ],
    *,
    format: Annotated[
        Format,
        typer.Option(
            help="onnx for most programs, torch-export (.pt2) for PyTorch, bioimageio (a zip) for "
            "Fiji's deepImageJ, ilastik and others."
        ),
    ] = "onnx",
    depth: Annotated[
        int | None,
        typer.Option(min=1, help="The head: 1 is small and fast; by default the model's last."),
    ] = None,
    tiled: Annotated[
        bool,
        typer.Option(
            "--tiled",
            help="For programs that cut images into small tiles: background and gamma, which hold "
            "for a whole image, are left out.",
        ),
    ] = False,
    author: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Of the model, for bioimageio; once for each."),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write one head of a model, with all that it needs, as a file for other programs.

    The file takes images of any size and gives the probabilities of the head. Before it takes its
    place it is run on a sample, and compared with the model. To give a model away with all its
    heads, for napari-unetpp, take `models export`.
    """
    from napari_unetpp.files import check_free

    spec = read_spec(model_file(model))
    options = ExportOptions(
        depth=spec.depth if depth is None else depth,
        format=format,
        tiled=tiled,
        authors=tuple(author or ([MAKERS] if Store().is_shipped(model) else [])),
    )
    path = target(output, f"{spec.name}_L{options.depth}", format)
    check_free(path, force=force)

    from napari_unetpp.export.write import export_head

    made = export_head(load_model(model), path, options)
    agreement = made.agreement
    say(f"{path}: head L{options.depth} of {spec.name}, {made.bytes / 1e6:.1f} MB.")
    if agreement.difference is None:
        say('It was not run, as onnxruntime is missing: pip install "napari-unetpp[export]".')
    else:
        say(
            f"Run with {made.runtime} on a sample: its probabilities are the model's, to "
            f"{agreement.difference:.1g}."
        )
    say(f"Its masks there and those of napari-unetpp have an IoU of {agreement.iou:.3f}.")


def target(output: Path, stem: str, format: Format) -> Path:
    """The file to write: `output`, or in it if it is a folder.

    Raises
    ------
    UserError
        If the file's ending is another format's.
    """
    suffix = SUFFIXES[format]
    if output.is_dir():
        return output / f"{stem}{suffix}"
    if output.suffix.lower() != suffix:
        raise UserError(
            f"{output.name} doesn't end in {suffix}, as files of the format {format} do: give such "
            "a name, or a folder that exists."
        )
    return output
