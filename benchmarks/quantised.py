"""A model in OpenVINO: converted from torch, quantised to int8 by NNCF, run."""

from __future__ import annotations

import csv
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchmarks.common import the_model, the_spec
from napari_unetpp.files import find_pairs, read_image
from napari_unetpp.inference.layout import Layout
from napari_unetpp.inference.reading import Reader
from napari_unetpp.models.spec import Normalisation

STRIDE = 16
"""Sides of planes are multiples of it, so that the graph has nothing to cut off."""
PATCH = 256
"""Largest side of what is calibrated on."""
FP32, INT8 = "fp32", "int8"

FloatArray = NDArray[np.float32]
Patches = Sequence[FloatArray]
INSTALL = "pip install -r benchmarks/requirements.txt"


class MissingError(Exception):
    """OpenVINO or NNCF can't be imported; says so in a sentence."""


def require() -> None:
    """Refuse to go on without OpenVINO and NNCF; in a child, as it loads them.

    Raises
    ------
    MissingError
        If one can't be imported.
    """
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise MissingError(f"OpenVINO and NNCF are needed ({error}): {INSTALL}.") from error
    assert nncf
    assert openvino


def write(path: Path, patches: Patches | None) -> None:
    """Write the shipped model as the engine does: in fp32, or in int8 calibrated on patches."""
    import openvino

    from napari_unetpp.inference.quantising import converted, in_int8

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the size of the example is in the graph nowhere
        model = converted(the_model().network)
        if patches is not None:
            logging.getLogger("nncf").setLevel(logging.ERROR)
            model = in_int8(model, patches)
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=False)


def prepare(data: Path, folder: Path, count: int) -> dict[str, Path]:
    """Write all graphs that are not there yet; loads torch and OpenVINO."""
    how = the_spec().normalisation
    pairs = find_pairs(data / "train" / "images", data / "train" / "labels")
    chosen = np.random.default_rng(0).choice(len(pairs), min(count, len(pairs)), replace=False)
    sources: dict[str, Callable[[], Patches | None]] = {
        FP32: lambda: None,
        f"{INT8}, {count} patches of train": lambda: patches_of(
            [normalised(pairs[i][0], how) for i in chosen]
        ),
    }
    for modality, path in singles(data).items():
        sources[f"{INT8}, one image: {modality} {path.stem}"] = partial(of_image, path, how)
    graphs = {}
    for name, patches in sources.items():
        graphs[name] = folder / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.xml"
        if not graphs[name].exists():
            write(graphs[name], patches())
    return graphs


def of_image(path: Path, how: Normalisation) -> Patches:
    """The patches that the engine takes of an image, where that is all that there is."""
    from napari_unetpp.inference.quantised import patches_of

    reader, layout = _reader(path, how)
    return list(patches_of(reader, [()], layout.spatial_shape, STRIDE))


def singles(data: Path) -> dict[str, Path]:
    """The first image of each modality in val: the case of a user who has just this one."""
    found: dict[str, Path] = {}
    with (data / "index.csv").open() as file:
        for row in csv.DictReader(file):
            if row["split"] == "val":
                path = data / "val" / "images" / f"{row['id']}.tif"
                found.setdefault(row["modality"], path)
    return found


class OpenVino:
    """A written graph, compiled for the CPU with as many threads as torch has.

    Parameters
    ----------
    path : Path
        From `write`.
    precision : {"f32", "bf16"}
        Of what isn't int8.
    head : int, optional
        Only this head, with what it needs; by default all of them.
    """

    def __init__(self, path: Path, precision: str, head: int | None = None) -> None:
        import openvino
        import torch

        core = openvino.Core()
        model = core.read_model(path)
        if head is not None:
            model = openvino.Model([model.get_results()[head - 1]], model.get_parameters())
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def __call__(self, plane: FloatArray) -> list[FloatArray]:
        """Probabilities ``(y, x)`` of the heads of a normalised plane ``(c, y, x)``."""
        found = self._request.infer([plane[None]], share_inputs=True, share_outputs=True)
        return [expit(values[0, 0]) for values in found.values()]


def normalised(path: Path, how: Normalisation) -> FloatArray:
    """An image file as the network sees it, ``(c, y, x)``, its sides brought to the stride."""
    reader, layout = _reader(path, how)
    pixels = reader.read((), layout.whole)
    missing = [(0, -side % STRIDE) for side in pixels.shape[1:]]
    return np.pad(pixels, [(0, 0), *missing], mode="symmetric")


def patches_of(planes: Sequence[FloatArray], seed: int = 0) -> Patches:
    """A patch of up to `PATCH` pixels from anywhere in each plane."""
    generator = np.random.default_rng(seed)
    patches = []
    for plane in planes:
        starts = [int(generator.integers(0, max(0, n - PATCH) + 1)) for n in plane.shape[1:]]
        parts = tuple(slice(start, start + PATCH) for start in starts)
        patches.append(np.ascontiguousarray(plane[(slice(None), *parts)]))
    return patches


def _reader(path: Path, how: Normalisation) -> tuple[Reader, Layout]:
    image = read_image(path)
    layout = Layout.of(image.data, image.axes, dims=2)
    return Reader(image.data, layout, how, in_channels=1), layout
