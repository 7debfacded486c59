"""A package of bioimage.io: a zip with the graph, its description, and an example.

The weights are ONNX alone. PyTorch's state dictionaries are pickled, and the package has none.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.depths import parameter_count
from napari_unetpp.export import rdf
from napari_unetpp.export.check import Agreement
from napari_unetpp.export.describe import documentation
from napari_unetpp.export.graph import ExportedHead, run
from napari_unetpp.export.intensities import scaled
from napari_unetpp.export.options import ExportOptions
from napari_unetpp.export.packages import quiet
from napari_unetpp.models.file import Model

RDF = "rdf.yaml"


def to_package(
    model: Model,
    head: ExportedHead,
    options: ExportOptions,
    *,
    onnx: bytes,
    sample: NDArray[Any],
    agreement: Agreement,
) -> bytes:
    """The zip, which bioimage.io's own library finds valid.

    Parameters
    ----------
    model, head, options
        What is exported.
    onnx : bytes
        The graph.
    sample : array
        Intensities ``(c, *spatial)`` of the example.
    agreement : Agreement
        What was found when the graph was tried.

    Raises
    ------
    UserError
        If the package isn't valid.
    """
    import yaml

    given = scaled(sample, model.spec.normalisation)
    found = run(head, given)
    description = rdf.rdf(model, options, parameter_count(head.network))
    parts = {
        RDF: yaml.safe_dump(description, sort_keys=False, allow_unicode=True).encode(),
        rdf.README: documentation(model, options, agreement).encode(),
        rdf.COVER: _cover(given[0], found[0]),
        rdf.TEST_INPUT: _npy(sample[None]),
        rdf.TEST_OUTPUT: _npy(found[None]),
        rdf.WEIGHTS: onnx,
    }
    _validate(parts)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return buffer.getvalue()


def _cover(given: NDArray[np.float32], found: NDArray[np.float32]) -> bytes:
    """A picture of the example beside what is found in it; of a volume, the plane in its middle."""
    halves = [part if part.ndim == 2 else part[len(part) // 2] for part in (given, found)]
    picture = (np.concatenate(halves, axis=1) * 255).astype(np.uint8)
    return bytes(imageio.imwrite("<bytes>", picture, extension=".png"))


def _npy(values: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values.astype(np.float32), allow_pickle=False)
    return buffer.getvalue()


def _validate(parts: Mapping[str, bytes]) -> None:
    from bioimageio.spec import InvalidDescr, ValidationContext, load_description

    # As files rather than as a zip, which the library would leave open.
    with tempfile.TemporaryDirectory() as folder, quiet():
        for name, content in parts.items():
            (Path(folder) / name).write_bytes(content)
        with ValidationContext(perform_io_checks=True, log_warnings=False, progressbar=False):
            found = load_description(Path(folder) / RDF)
        if isinstance(found, InvalidDescr):
            raise UserError(
                "bioimage.io's validator refuses the package, so it isn't written: "
                f"{found.get_reason()}"
            )
