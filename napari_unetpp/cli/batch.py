"""Segment many images: each on its own, so that one that fails doesn't stop the others."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import typer

from napari_unetpp.cli.console import progress_bar, say
from napari_unetpp.cli.into_zarr import Way, segment_into_zarr
from napari_unetpp.cli.job import Job
from napari_unetpp.errors import UserError
from napari_unetpp.files import (
    ZARR_SUFFIX,
    Source,
    image_paths,
    is_store,
    is_url,
    name_of,
    output_names,
)


def run_batch(inputs: Sequence[Source], output: Source, job: Job, way: Way) -> None:
    """Segment images and folders of images, and say how it went.

    Parameters
    ----------
    inputs : sequence of Path or str
        Files, folders, and URLs of OME-Zarr.
    output : Path or str
        A folder for TIFFs; or the name or URL of one of OME-Zarr, for a single image.
    job : Job
        What to do to each.
    way : Way
        How to write OME-Zarr.

    Raises
    ------
    UserError
        If the folder can't be written, several images are to go into one OME-Zarr, or what is
        asked for can't be had in that place.
    typer.Exit
        With code 2 if an image failed.
    """
    started, device = time.monotonic(), ""
    by_pieces = _goes_by_pieces(output, job, way)
    found, failures = find_images(inputs)
    if by_pieces and len(found) == 1 and not failures:
        segment_into_zarr(found[0], output, job, way)
        return
    places = places_for(found, output)
    sources = {_resolved(source) for source in found}
    with progress_bar() as bar:
        total = bar.add_task("Images", total=len(found), note="", visible=len(found) > 1)
        for number, source in enumerate(found, start=1):
            name = name_of(source)
            task = bar.add_task(name, total=1.0, note="")
            left_out = 0
            try:
                for event in job.run(source, places[source], sources):
                    device = event.device.label
                    left_out += event.is_left_out
                    head = f"L{event.head}" if event.head else event.preparing or "a part left out"
                    bar.update(task, completed=event.fraction, note=f"{head} · {device}")
                    if event.notice:
                        say(f"{name}: {event.notice}")
            except UserError as error:
                failures[source] = error
            if left_out:
                failures[source] = UserError(_told_left_out(name, left_out))
            bar.remove_task(task)
            bar.update(total, completed=number, note=f"{number} of {len(found)}")
    done = len(found) - sum(source in failures for source in found)
    if done:
        images = "1 image" if done == 1 else f"{done} images"
        seconds = time.monotonic() - started
        say(f"{images} segmented in {seconds:.1f} s on {device}: the masks are in {output}.")
    if failures:
        _report(failures, done)
        raise typer.Exit(2)


def _goes_by_pieces(output: Source, job: Job, way: Way) -> bool:
    """Whether the output is an OME-Zarr that is filled piece by piece."""
    is_zarr = name_of(output).lower().endswith(ZARR_SUFFIX)
    far = way.scheduler is not None or is_url(output)
    if far and not is_zarr:
        raise UserError(
            f"{output} is not OME-Zarr, which is all that a cluster writes, or that is written to "
            "a URL: give a name that ends in .zarr."
        )
    if far and job.instances:
        raise UserError(
            "Instances are numbered over the whole image, which takes one process and a file: "
            "leave away --instances, and --scheduler or the URL."
        )
    return is_zarr and not job.instances


def places_for(sources: Sequence[Source], output: Source) -> dict[Source, Path]:
    """Where the masks of each image go, see `Job.run`; folders for TIFFs are made.

    Raises
    ------
    UserError
        If the folder can't be written, or several images are to go into one OME-Zarr.
    """
    if not name_of(output).lower().endswith(ZARR_SUFFIX):
        folder = Path(output)
        make_folder(folder)
        return {source: folder / name for source, name in output_names(sources).items()}
    if len(sources) > 1:
        raise UserError(
            f"{output} can hold the masks of one image, and {len(sources)} are given: segment them "
            "one by one, or give a folder, for TIFFs."
        )
    store = Path(output)
    make_folder(store.parent)
    return dict.fromkeys(sources, store)


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises
    ------
    UserError
        If it can't be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {folder} can't be made ({error.strerror}): choose another place."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"The folder {folder} can't be written: choose another one.")


def find_images(
    inputs: Sequence[Source],
) -> tuple[list[Source], dict[Source, UserError]]:
    """The images of files and folders, each once; and the folders that failed, with the reason."""
    found: dict[Source, Source] = {}
    failures: dict[Source, UserError] = {}
    for source in inputs:
        images: list[Source] = [source]
        try:
            if isinstance(source, Path) and source.is_dir() and not is_store(source):
                images = [*image_paths(source)]
        except UserError as error:
            failures[source] = error
            continue
        for image in images:
            found.setdefault(_resolved(image), image)
    return list(found.values()), failures


def _told_left_out(name: str, count: int) -> str:
    parts = "1 part of it" if count == 1 else f"{count} parts of it"
    return f"{name}: {parts} can't be read and is empty in the masks; get the file again."


def _resolved(source: Source) -> Source:
    return source.resolve() if isinstance(source, Path) else source


def _report(failures: dict[Source, UserError], done: int) -> None:
    """List what failed; one failure alone is one sentence."""
    if done or len(failures) > 1:
        say(f"{len(failures)} of {done + len(failures)} inputs failed:")
    for source, error in failures.items():
        named = name_of(source) in str(error)
        say(str(error) if named else f"{source}: {error}")
