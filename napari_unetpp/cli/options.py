"""Options that several commands have, and what they are about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from napari_unetpp.inference.options import SegmentOptions
    from napari_unetpp.models.file import Model

ModelOption = Annotated[
    str,
    typer.Option(help="Name of a model (see `models list`), or a .safetensors file."),
]
DepthOption = Annotated[
    int | None,
    typer.Option(min=1, help="The deepest head, from 1: fast, to the model's last: thorough."),
]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda", "mps", "openvino"],
    typer.Option(
        help="Where to compute; auto takes CUDA, then MPS, then the CPU. openvino: the CPU in int8."
    ),
]
LearningDeviceOption = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option("--device", help="Where to compute; auto takes CUDA, then MPS, then the CPU."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
ImagesArgument = Annotated[
    Path, typer.Argument(metavar="IMAGES", help="Folder of images, or one image.")
]
LabelsArgument = Annotated[
    Path,
    typer.Argument(
        metavar="LABELS", help="Folder of labels with the names of the images, or one file of them."
    ),
]


def load_for(name: str, options: SegmentOptions, threshold: float) -> Model:
    """The model, if it can be used with these options: said once, rather than for each file.

    Raises
    ------
    UserError
        If there is no such model, or an option doesn't fit it.
    """
    import numpy as np

    from napari_unetpp.inference.heads import mask_of
    from napari_unetpp.inference.predict import segment_tiles
    from napari_unetpp.models import load_model

    model = load_model(name)
    dims = model.spec.dims
    pixel = np.zeros((model.spec.in_channels, *(1,) * dims), np.uint8)
    axes = "C" + "ZYX"[-dims:]
    segment_tiles(pixel, model, axes=axes, options=replace(options, channels=None))
    mask_of(pixel, threshold)
    return model
