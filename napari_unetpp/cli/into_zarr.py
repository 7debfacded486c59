"""Segment one image into OME-Zarr, piece by piece, here or on a cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import typer

from napari_unetpp.cli.console import progress_bar, say, until_interrupted
from napari_unetpp.cli.job import Job, check_no_input
from napari_unetpp.cluster.dask_run import on_cluster
from napari_unetpp.cluster.plan import CHUNK, PIECE, Plan
from napari_unetpp.cluster.run import Doer, Progress, here, run
from napari_unetpp.cluster.stores import prepare
from napari_unetpp.files import ImageFile, Source, name_of
from napari_unetpp.files.zarr_metadata import Version
from napari_unetpp.inference.layout import ArrayLike, Layout
from napari_unetpp.inference.predict import segment_tiles

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How it is done; see the options of `segment`."""

    scheduler: str | None = None
    version: Version = "0.5"
    piece: int | None = None
    skip_damaged: bool = False


def segment_into_zarr(source: Source, target: Source, job: Job, way: Way) -> None:
    """Segment an image, or go on where a run was cut off, and say how it went.

    Raises
    ------
    UserError
        If the image can't be read or segmented, other masks are in the place, or the cluster fails.
    typer.Exit
        With code 130 after Ctrl-C.
    """
    source, target = _absolute(source), _absolute(target)
    check_no_input(target, [source])
    image = job.opened(source)
    plan = _planned(source, target, image, job, way)
    started = time.monotonic()
    with _doer(way.scheduler) as do:  # before anything is written
        ready = prepare(
            plan,
            job.model_file.read_bytes(),
            pixel_size=image.pixel_size,
            origin=image.origin,
            provenance=job.provenance(name_of(source), image.axes),
            force=job.force,
        )
        if ready is None:
            say(f"{target} is complete already, with these settings: nothing was done.")
            return
        steps = run(ready, do, skip_damaged=way.skip_damaged)
        done = _follow(steps, name_of(source))
    seconds = time.monotonic() - started
    pieces = "1 piece" if done == 1 else f"{done} pieces"
    say(f"1 image segmented in {seconds:.1f} s ({pieces}): the masks are in {target}.")


def _follow(steps: Iterator[Progress], name: str) -> int:
    """Show a run; gives the number of pieces that were done."""
    before: int | None = None
    with progress_bar() as bar, until_interrupted() as stop:
        task = bar.add_task(name, total=1.0, note="")
        for progress in steps:
            before = progress.done if before is None else before
            note = f"{progress.done} of {progress.count} pieces"
            bar.update(task, completed=progress.done, total=progress.count, note=note)
            if stop() and progress.done < progress.count:
                say(
                    f"Stopped with {note} done: they are kept, and the same command goes on from "
                    "there."
                )
                raise typer.Exit(INTERRUPTED)
    return progress.done - (before or 0)


def _planned(
    source: Source, target: Source, image: ImageFile[ArrayLike], job: Job, way: Way
) -> Plan:
    dims = job.model.spec.dims
    layout = Layout.of(image.data, image.axes, dims=dims)
    options = replace(job.options_for(image), overview=None)  # each process opens its own
    # One pixel has all that can be wrong with an option.
    pixel = [n if a == "C" else 1 for a, n in zip(layout.axes, layout.shape, strict=True)]
    segment_tiles(np.zeros(pixel, image.data.dtype), job.model, axes=layout.axes, options=options)
    side = way.piece or PIECE[dims]
    return Plan(
        source=source,
        target=target,
        layout=layout,
        given_axes=job.axes,
        results=tuple(job.masks),
        depth=job.depth,
        threshold=job.threshold,
        options=options,
        digest=job.model.digest,
        version=way.version,
        side=side,
        chunk=min(CHUNK[dims], side),
    )


@contextmanager
def _doer(scheduler: str | None) -> Iterator[Doer]:
    if scheduler is None:
        yield here
        return
    with on_cluster(scheduler) as do:
        for name in ("distributed", "distributed.client"):  # what matters is said in sentences
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield do


def _absolute(source: Source) -> Source:
    """A place under a name that other processes know, too."""
    return source.resolve() if isinstance(source, Path) else source
