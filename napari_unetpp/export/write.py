"""Export one head of a model: made, tried, and only then written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from napari_unetpp.atomic import write_atomically
from napari_unetpp.errors import UserError
from napari_unetpp.export.bioimageio import to_package
from napari_unetpp.export.check import Agreement, Runtime, compare
from napari_unetpp.export.describe import as_json
from napari_unetpp.export.graph import head_of, run, traced
from napari_unetpp.export.onnx_file import OnnxRun, to_onnx
from napari_unetpp.export.options import ExportOptions
from napari_unetpp.export.packages import is_there, require
from napari_unetpp.export.sample import sample_for
from napari_unetpp.export.torch_file import load_torch_export, to_torch_export
from napari_unetpp.models.file import Model


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes
    ----------
    bytes : int
        Size of the file.
    agreement : Agreement
        What was found when it was tried.
    runtime : str
        What it was tried with; empty if that isn't installed.
    """

    bytes: int
    agreement: Agreement
    runtime: str


def export_head(model: Model, path: Path, options: ExportOptions) -> Exported:
    """Write one head of a model as a file for other programs.

    The file is run and compared with the model before it takes its place; an existing one is
    replaced.

    Raises
    ------
    UserError
        If the model has no such head, a package is missing, the file gives something else than the
        model, or it can't be written.
    """
    check_options(model, options)
    head = head_of(model, options.depth, tiled=options.tiled)
    program, about = traced(head), as_json(model, options)
    sample = sample_for(model.spec, options.depth, tiled=options.tiled)
    if options.format == "torch-export":
        content, name = to_torch_export(program, about), "torch"
        runtime: Runtime | None = partial(run, load_torch_export(content))
    else:
        content, name = to_onnx(program, "ZYX"[-model.spec.dims :], about), "onnxruntime"
        runtime = OnnxRun(content) if is_there(name) else None
    agreement = compare(head, runtime, sample, model.spec.normalisation)
    tried = name if runtime is not None else ""
    if options.format == "bioimageio":
        content = to_package(model, head, options, onnx=content, sample=sample, agreement=agreement)
    write_atomically(path, content)
    return Exported(bytes=len(content), agreement=agreement, runtime=tried)


def check_options(model: Model, options: ExportOptions) -> None:
    """Refuse what can't be exported, before there is any work.

    Raises
    ------
    UserError
        If the model has no such head, torch is too old, or a package or the authors are missing.
    """
    heads = model.network.supervised
    if options.depth not in heads:
        raise UserError(
            f"The depth is {options.depth}, but {model.spec.name} has the heads "
            f"{', '.join(f'L{k}' for k in heads)}: choose one of them."
        )
    if not hasattr(torch.export.Dim, "DYNAMIC"):  # torch 2.5 and older
        raise UserError(
            f"torch {torch.__version__} can't export a graph for images of any size: update torch."
        )
    if options.format != "torch-export":
        require("onnx", "onnxscript")
    if options.format == "bioimageio":
        require("bioimageio.spec", "yaml")
        if not options.authors:
            raise UserError(
                "A package for bioimage.io names the authors of the model: give --author NAME."
            )
