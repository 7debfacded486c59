"""Segment many files: each on its own, so that one that fails doesn't stop the others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer
from numpy.typing import NDArray

from napari_unetpp import __version__
from napari_unetpp.cli.console import progress_bar, say
from napari_unetpp.errors import UserError
from napari_unetpp.files import check_free, image_paths, output_names, read_image, write_masks
from napari_unetpp.inference.engine import TileEvent
from napari_unetpp.inference.heads import Heads, mask_of
from napari_unetpp.inference.instances import separate
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment_tiles
from napari_unetpp.models.file import Model

ENSEMBLE, INSTANCES = "ensemble", "instances"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done to each file; see the options of `segment`."""

    model: Model
    options: SegmentOptions
    axes: str | None
    threshold: float
    heads: Literal["all", "deepest", "ensemble"]
    instances: bool
    force: bool

    def run(self, path: Path, stem: Path, sources: set[Path]) -> Iterator[TileEvent]:
        """Segment a file and write ``<stem>_<result>.tif``; yields what `segment_tiles` does.

        Raises
        ------
        UserError
            If the file can't be read or segmented, or a result would replace a file or an input.
        """
        targets = {name: Path(f"{stem}_{name}.tif") for name in self._results()}
        for target in targets.values():  # before the work, not after it
            check_free(target, force=self.force)
            if target.resolve() in sources:
                raise UserError(f"{target} is one of the inputs: choose another folder for output.")
        image = read_image(path)
        heads, events = segment_tiles(
            image.data, self.model, axes=self.axes or image.axes, options=self.options
        )
        device = ""
        for event in events:
            device = event.device.label
            yield event
        for name, target in targets.items():
            write_masks(
                target,
                self._pixels(name, heads),
                axes=heads.axes,
                pixel_size=image.pixel_size,
                provenance=self._provenance(path, heads, name, device),
                force=self.force,
            )

    def _masks(self) -> list[str]:
        depth = self.options.depth or self.model.spec.depth
        all_heads = [f"L{k}" for k in range(1, depth + 1)]
        return {"all": all_heads, "deepest": all_heads[-1:], "ensemble": [ENSEMBLE]}[self.heads]

    def _results(self) -> list[str]:
        return [*self._masks(), INSTANCES] if self.instances else self._masks()

    def _pixels(self, name: str, heads: Heads) -> NDArray[Any]:
        if name == INSTANCES:
            return separate(self._pixels(self._masks()[-1], heads))
        values = heads.ensemble() if name == ENSEMBLE else heads.values[int(name[1:]) - 1]
        return mask_of(values, self.threshold)

    def _provenance(self, path: Path, heads: Heads, name: str, device: str) -> dict[str, Any]:
        """Enough to make it again."""
        return {
            "image": path.name,
            "axes": heads.layout.axes,
            "model": self.model.spec.name,
            "sha256": self.model.digest,
            "result": name,
            "depth": heads.depth,
            "threshold": self.threshold,
            "channels": self.options.channels,
            "normalisation": self.model.spec.normalisation.model_dump(),
            "tile": self.options.tile,
            "device": device,
            "version": __version__,
        }


def run_batch(inputs: Sequence[Path], output: Path, job: Job) -> None:
    """Segment files and folders of files into a folder, and say how it went.

    Raises
    ------
    UserError
        If the folder can't be written.
    typer.Exit
        With code 2 if a file failed.
    """
    make_folder(output)
    started, device = time.monotonic(), ""
    paths, failures = find_images(inputs)
    sources, names = {path.resolve() for path in paths}, output_names(paths)
    with progress_bar() as bar:
        total = bar.add_task("Images", total=len(paths), note="", visible=len(paths) > 1)
        for number, path in enumerate(paths, start=1):
            task = bar.add_task(path.name, total=1.0, note="")
            try:
                for event in job.run(path, output / names[path], sources):
                    device = event.device.label
                    bar.update(task, completed=event.fraction, note=f"L{event.head} · {device}")
                    if event.notice:
                        say(f"{path.name}: {event.notice}")
            except UserError as error:
                failures[path] = error
            bar.remove_task(task)
            bar.update(total, completed=number, note=f"{number} of {len(paths)}")
    done, seconds = len(paths) - sum(path in failures for path in paths), time.monotonic() - started
    if done:
        images = "1 image" if done == 1 else f"{done} images"
        say(f"{images} segmented in {seconds:.1f} s on {device}: the masks are in {output}.")
    if failures:
        _report(failures, done)
        raise typer.Exit(2)


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


def find_images(inputs: Sequence[Path]) -> tuple[list[Path], dict[Path, UserError]]:
    """The files of files and folders, each once; and the folders that failed, with the reason."""
    found: dict[Path, Path] = {}
    failures: dict[Path, UserError] = {}
    for path in inputs:
        try:
            files = image_paths(path) if path.is_dir() else [path]
        except UserError as error:
            failures[path] = error
            continue
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values()), failures


def _report(failures: dict[Path, UserError], done: int) -> None:
    """List what failed; one failure alone is one sentence."""
    if done or len(failures) > 1:
        say(f"{len(failures)} of {done + len(failures)} inputs failed:")
    for path, error in failures.items():
        named = path.name in str(error)
        say(str(error) if named else f"{path}: {error}")
