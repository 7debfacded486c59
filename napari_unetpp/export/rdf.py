"""The description of a package, as bioimage.io's format 0.5 has it.

It is kept to what older readers know: deepImageJ has taken documentation and covers for plain
names, as format 0.5.3 has them.
"""

from __future__ import annotations

import re
from typing import Any

from napari_unetpp import __version__
from napari_unetpp.export.describe import PAPER, PAPER_DOI, in_short
from napari_unetpp.export.graph import INPUT, OUTPUT
from napari_unetpp.export.onnx_file import OPSET
from napari_unetpp.export.options import ExportOptions
from napari_unetpp.export.sample import halo_of, smallest
from napari_unetpp.models.file import Model

FORMAT = "0.5.3"
WEIGHTS, README, COVER = "weights.onnx", "README.md", "cover.png"
TEST_INPUT, TEST_OUTPUT = "test_input.npy", "test_output.npy"


def rdf(model: Model, options: ExportOptions, parameters: int) -> dict[str, Any]:
    """What goes into rdf.yaml, for a head with so many parameters."""
    spec = model.spec
    about = in_short(spec)
    return {
        "type": "model",
        "format_version": FORMAT,
        "name": _name(f"{spec.name} L{options.depth} UNet++"),
        "version": __version__,
        "description": f"{about} Head L{options.depth} of a UNet++, alone.",
        "authors": [{"name": author} for author in options.authors],
        "cite": [{"text": PAPER, "doi": PAPER_DOI}],
        "covers": [COVER],
        "license": _spdx(spec.licence),
        "documentation": README,
        "tags": ["unet++", "segmentation", f"{spec.dims}d", "napari", *spec.classes],
        "inputs": [_input(model, options)],
        "outputs": [_output(model, options)],
        "weights": {"onnx": {"source": WEIGHTS, "opset_version": OPSET}},
        "config": {
            "bioimageio": {
                "architecture_type": "UNet++",
                "model_parameter_count": parameters,
                "task": "segmentation",
            }
        },
    }


def _input(model: Model, options: ExportOptions) -> dict[str, Any]:
    spec, how = model.spec, model.spec.normalisation
    size = {"min": smallest(spec, options.depth, tiled=options.tiled), "step": 1}
    kwargs = {"axes": _space(spec.dims), "min_percentile": how.low, "max_percentile": how.high}
    names = [f"channel{n}" for n in range(spec.in_channels)]
    spatial = [axis | {"size": dict(size), "concatenable": options.tiled} for axis in _axes(model)]
    return {
        "id": INPUT,
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": names}, *spatial],
        "data": {"type": "float32"},
        "test_tensor": {"source": TEST_INPUT},
        "preprocessing": [
            {"id": "scale_range", "kwargs": kwargs},
            {"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}},
        ],
    }


def _output(model: Model, options: ExportOptions) -> dict[str, Any]:
    spec = model.spec
    halo = {"halo": halo_of(spec, options.depth)} if options.tiled else {}
    spatial = [
        axis | {"size": {"tensor_id": INPUT, "axis_id": axis["id"]}} | halo for axis in _axes(model)
    ]
    names = [_identifier(name, n) for n, name in enumerate(spec.classes)]
    return {
        "id": OUTPUT,
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": names}, *spatial],
        "data": {"type": "float32", "range": [0.0, 1.0]},
        "test_tensor": {"source": TEST_OUTPUT},
    }


def _axes(model: Model) -> list[dict[str, Any]]:
    """The spatial axes, with the length of a voxel if the model knows it."""
    axes = [{"type": "space", "id": axis} for axis in _space(model.spec.dims)]
    if model.spec.voxel_size is None:
        return axes
    return [
        axis | {"unit": "micrometer", "scale": length}
        for axis, length in zip(axes, model.spec.voxel_size, strict=True)
    ]


def _space(dims: int) -> list[str]:
    return list("zyx"[-dims:])


def _name(name: str) -> str:
    """With what bioimage.io allows in names."""
    return re.sub(r"[^A-Za-z0-9_+\- ()]", "_", name)


def _identifier(name: str, number: int) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or f"class{number}"


def _spdx(licence: str) -> str | None:
    """A licence, if it is one that bioimage.io knows by its name."""
    from bioimageio.spec.generic.v0_3 import LicenseId

    try:
        return str(LicenseId(licence))
    except ValueError:
        return None
