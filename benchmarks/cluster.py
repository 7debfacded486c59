"""One worker of a dask cluster against two, each with one core."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common import in_child
from benchmarks.large import lazy_mosaic
from benchmarks.sheet import Sheet, verdict

LEAST = 1.7
"""Times as fast with two workers, where two cores are free."""
CORE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def sheets(*, depth: int = 2, rounds: int = 3) -> list[Sheet]:
    """Segment a zarr into OME-Zarr over a cluster of one worker and of two, by turns.

    Parameters
    ----------
    depth : int
        The deepest head.
    rounds : int
        How often each.
    """
    one, two = in_child(measure, depth, rounds)
    ratios = [a / b for a, b in zip(one, two, strict=True)]
    ratio = statistics.median(ratios)
    rows = [
        ("one worker, s", f"{statistics.median(one):.1f}"),
        ("two workers, s", f"{statistics.median(two):.1f}"),
        (f"times as fast (≥ {LEAST})", f"{ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"),
        ("met", verdict(ratio >= LEAST)),
    ]
    note = (
        f"4 planes of 2048² to L{depth}, 16 pieces of 1024²; a worker is a process with one core; "
        f"workers are warm. {rounds} rounds by turns: the median, the least and the most."
    )
    return [Sheet("cluster: one worker and two", ("", "measured"), rows, note)]


def measure(depth: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each round, with one worker and with two."""
    with tempfile.TemporaryDirectory() as folder, _cluster(1) as one, _cluster(2) as two:
        lazy_mosaic(Path(folder), (4, 2048, 2048), lazy=True)
        times: dict[str, list[float]] = {one: [], two: []}
        for number in range(-1, rounds):  # the first warms the workers up
            for address in (one, two):
                seconds = _segmented(Path(folder), address, depth)
                if number >= 0:
                    times[address].append(seconds)
        return times[one], times[two]


@contextmanager
def _cluster(workers: int) -> Iterator[str]:
    """A scheduler with so many workers; gives its address."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=None, env=CORE
    ) as cluster:
        yield cluster.scheduler_address


def _segmented(folder: Path, scheduler: str, depth: int) -> float:
    """Seconds of the command, in this process, which has imported everything."""
    from typer.testing import CliRunner

    from napari_unetpp.cli import app

    output = folder / "masks.zarr"
    arguments = ["segment", str(folder / "image"), "-o", str(output), "--scheduler", scheduler]
    arguments += ["--axes", "ZYX", "--depth", str(depth), "--piece", "1024", "--force"]
    arguments += ["--device", "cpu"]
    started = time.perf_counter()
    result = CliRunner().invoke(app, arguments)
    if result.exit_code:
        raise RuntimeError(result.output)
    return time.perf_counter() - started
