"""Quantised graphs of models: made once of the user's own image, and kept in the cache folder.

Normalised images are alike, so the graph that one image was enough to calibrate serves the others,
too (`python -m benchmarks openvino`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.atomic import replacing_folder
from napari_unetpp.errors import UserError
from napari_unetpp.inference.chunks import UnreadableError
from napari_unetpp.inference.layout import Index
from napari_unetpp.inference.openvino_packages import versions
from napari_unetpp.inference.quantising import GRAPH, MODEL, PATCHES
from napari_unetpp.inference.reading import Reader
from napari_unetpp.inference.room import cache_folder
from napari_unetpp.models.file import Model, save_model

MODULE = "napari_unetpp.inference.quantising"
FORMAT = 1
"""Of what is kept; another number makes all graphs anew."""
PATCHES_OF_IMAGE = {2: 16, 3: 4}
PIECES = 4
"""Planes or volumes that they are taken from at the most: each is read to tell its intensities."""
SIDE = {2: 256, 3: 64}
"""Of a patch, at the most: 64³ voxels are as many as four planes of 256²."""
LEAST_SPREAD = 0.05
"""Of the values of all patches, in [0, 1]: an empty image tells nothing of others."""
KEPT = 8
"""Graphs, of 9 MB each for the shipped model; the one that wasn't used for longest goes."""
EVERY = 0.25
"""Seconds between looks at the process."""


class QuantisingError(RuntimeError):
    """No quantised graph can be had; says why."""


def graph_file(model: Model) -> Path:
    """Where a model's quantised graph is, or will be."""
    return _folder(model) / GRAPH


def is_quantised(model: Model) -> bool:
    """Whether the graph is there; it counts as used then."""
    if not graph_file(model).is_file():
        return False
    with suppress(OSError):  # in a folder of others it may be read all the same
        os.utime(_folder(model))
    return True


def remove_graph(model: Model) -> None:
    """Remove a graph that can't be read, so that it is made anew the next time."""
    shutil.rmtree(_folder(model), ignore_errors=True)


def patches_of(
    reader: Reader,
    indices: Sequence[Index],
    shape: Sequence[int],
    stride: int,
) -> NDArray[np.float32]:
    """Patches from anywhere in an image as the network sees it, always the same ones.

    Parameters
    ----------
    reader : Reader
        Of the image.
    indices : sequence of Index
        Planes or volumes to take them from.
    shape : sequence of int
        Of a plane or volume, in pixels of the network.
    stride : int
        Sides are multiples of it; where the image is shorter it is mirrored.

    Returns
    -------
    float32 array
        Shape ``(n, c, *spatial)``.

    Raises
    ------
    QuantisingError
        If nothing can be read there, or nothing is to be seen.
    """
    generator, count = np.random.default_rng(0), PATCHES_OF_IMAGE[len(shape)]
    most = -(-SIDE[len(shape)] // stride) * stride
    sides = [min(most, -(-n // stride) * stride) for n in shape]
    places = np.linspace(0, len(indices) - 1, min(PIECES, len(indices))).round().astype(int)
    found = []
    for number in range(count):
        index = indices[places[number * len(places) // count]]
        starts = [
            int(generator.integers(0, max(0, n - side) + 1))
            for n, side in zip(shape, sides, strict=True)
        ]
        region = tuple(
            slice(start, min(start + side, n))
            for start, side, n in zip(starts, sides, shape, strict=True)
        )
        try:
            patch = reader.read(index, region)
        except UnreadableError:
            continue
        missing = [(0, s - n) for s, n in zip(sides, patch.shape[1:], strict=True)]
        found.append(np.pad(patch, [(0, 0), *missing], mode="symmetric"))
    if not found or np.ptp(found) < LEAST_SPREAD:
        raise QuantisingError("there is nothing to be seen in the image to calibrate it on")
    return np.stack(found).astype(np.float32)


def quantise(model: Model, patches: NDArray[np.float32]) -> Generator[None, None, None]:
    """Make and keep the quantised graph of a model, in a process of its own.

    Yields
    ------
    None
        Every quarter of a second. Not asking on, and closing it, ends the process.

    Raises
    ------
    QuantisingError
        If it can't be made or kept.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="napari-unetpp-") as name:
            folder = Path(name)
            save_model(model.network, model.spec, folder / MODEL)
            np.save(folder / PATCHES, patches)
            yield from _in_process(folder)
            _keep(folder, _folder(model))
    except (UserError, OSError) as error:
        raise QuantisingError(str(error)) from error


def _in_process(folder: Path) -> Iterator[None]:
    log = folder / "log.txt"
    with log.open("wb") as errors:
        # -P: no modules from the folder that napari happens to be in.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        try:
            while process.poll() is None:
                yield
                _wait(process)
        finally:
            process.kill()
            process.communicate()
    if process.returncode != 0:
        lines = log.read_text("utf-8", errors="replace").strip().splitlines()
        raise QuantisingError(lines[-1] if lines else f"the process ended by {process.returncode}")


def _wait(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(EVERY)


def _keep(made: Path, folder: Path) -> None:
    """Put a graph into the cache; where another process was faster, its graph stays."""
    try:
        with replacing_folder(folder) as new:
            for file in (made / GRAPH, (made / GRAPH).with_suffix(".bin")):
                shutil.copyfile(file, new / file.name)
    except UserError:
        if not (folder / GRAPH).is_file():
            raise
    graphs = [path for path in folder.parent.iterdir() if not path.name.startswith(".")]
    for old in sorted(graphs, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _folder(model: Model) -> Path:
    return cache_folder() / "quantised" / f"{model.digest}-{versions()}-{FORMAT}"
