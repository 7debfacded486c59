"""What every benchmark needs: a model, images, processes of its own, turns and medians.

Nothing here imports torch at the top, so that the parent process stays small and untouched: all
measuring is done in fresh child processes.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.files import read_image
from napari_unetpp.models import DEFAULT_MODEL, ModelSpec, Store
from napari_unetpp.models.header import read_digest

if TYPE_CHECKING:
    from napari_unetpp.models.file import Model

P = ParamSpec("P")
T = TypeVar("T")
Precision = Literal["fp32", "bf16"]
Floats = NDArray[np.float64]

SAMPLES = ("nuclei", "stack", "histology")


def machine() -> str:
    """Where and with what the figures were measured, in one line."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "napari", "numpy"))
    return f"{date.today()}: {os.cpu_count()} cores of {cpu}; {versions}; {model_in_words()}."


def _version(name: str) -> str:
    """Of a package; a machine without a screen needs no napari."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def model_in_words() -> str:
    """Which weights are used."""
    store = Store()
    if not store.is_shipped(DEFAULT_MODEL):
        return "random weights, as no model is shipped"
    return f"the shipped model {DEFAULT_MODEL} ({read_digest(store.path(DEFAULT_MODEL))[:10]})"


def the_spec() -> ModelSpec:
    """What `the_model` says about itself, without torch."""
    store = Store()
    if store.is_shipped(DEFAULT_MODEL):
        return store.spec(DEFAULT_MODEL)
    return ModelSpec(name=DEFAULT_MODEL, description="random weights")


def the_model() -> Model:
    """The shipped model; without one, the same network with random weights (always the same)."""
    import torch

    from napari_unetpp.models.file import Model, build_network

    store = Store()
    if store.is_shipped(DEFAULT_MODEL):
        return store.load(DEFAULT_MODEL)
    torch.manual_seed(0)
    network = build_network(the_spec())
    return Model(network.eval().requires_grad_(False), the_spec(), "random")


def sample_path(name: str) -> Path:
    """The file of a sample image, or of its labels."""
    return Path(str(files("napari_unetpp"))) / "sample_data" / f"{name}.tif"


def mosaic(height: int, width: int) -> NDArray[Any]:
    """The sample of fluorescent nuclei, mirrored at its sides until it has this size."""
    image = read_image(sample_path("nuclei")).data[:height, :width]
    missing = [
        (0, wanted - there) for wanted, there in zip((height, width), image.shape, strict=True)
    ]
    return np.pad(image, missing, mode="symmetric")


def precisions() -> list[Precision]:
    """Those that this CPU computes in hardware; in a child, as it loads torch."""
    from napari_unetpp.inference.devices import choose_device

    return ["fp32", "bf16"] if choose_device("cpu").label.endswith("bf16") else ["fp32"]


def threads(*, busy: bool) -> str:
    """What `clock_for` tells, for a title."""
    return "CPU, one thread, seconds of computing" if busy else "CPU"


@contextmanager
def precision_of_cpu(precision: Precision) -> Iterator[None]:
    """Let the CPU device have this precision, whatever the hardware has."""
    from napari_unetpp.inference import devices

    with mock.patch.object(devices, "_cpu_has_bf16", return_value=precision == "bf16"):
        yield


def in_child(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of a module in a fresh process, and give what it returns.

    Memory, allocator settings, imports and caches of other measurements don't reach it.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def seconds_of(
    function: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> float:
    """How long one call takes."""
    started = clock()
    function()
    return clock() - started


def clock_for(*, busy: bool) -> Callable[[], float]:
    """The clock on the wall; on a busy computer that of what this process computes, in one thread.

    Several threads wait for each other at every layer, and for cores that others have: then neither
    clock tells what the work is. One thread is slowed down too, but it has as much to compute.
    """
    if not busy:
        return time.perf_counter
    import torch

    torch.set_num_threads(1)
    return time.process_time


def interleaved(
    tasks: Mapping[str, Callable[[], Sequence[float]]], rounds: int
) -> dict[str, Floats]:
    """Run tasks by turns, so that whatever else the machine does meets all of them alike.

    Parameters
    ----------
    tasks : mapping of str to callable
        Each gives the times that it took, always the same number of them.
    rounds : int
        How often; one more comes first and isn't counted. Each round begins with another task.

    Returns
    -------
    dict of str to array
        Shape ``(rounds, times)``.
    """
    names = list(tasks)
    times: dict[str, list[Sequence[float]]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            measured = tasks[name]()
            if number:
                times[name].append(measured)
    return {name: np.asarray(values) for name, values in times.items()}


def ratio(over: Floats, under: Floats) -> tuple[float, str]:
    """The median of the ratios round by round, and that in words with its quartiles."""
    low, median, high = np.percentile(over / under, [25, 50, 75])
    return float(median), f"{median:.2f} ({low:.2f}–{high:.2f})"
