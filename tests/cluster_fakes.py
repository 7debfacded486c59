"""A network that needs no torch, for this process and for workers of dask."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.files import ImageFile
from napari_unetpp.inference.layout import Layout

DEPTH = 2
MODEL = SimpleNamespace(spec=SimpleNamespace(heads=tuple(range(1, DEPTH + 1))))
STARTED, COMPUTED, WRITTEN, VICTIM = "started", "computed", "written", "victim"


def expected(pixels: NDArray[Any], head: int) -> NDArray[np.uint8]:
    """The mask of a head, from 1."""
    return (pixels >= 100 * head).astype(np.uint8)


def probabilities(
    image: ImageFile[Any],
    model: Any,
    *,
    axes: str,
    options: Any,
    index: tuple[int, ...],
    region: tuple[slice, ...],
) -> NDArray[np.uint8]:
    """As `engine.probabilities`, of one channel; 255 or 0."""
    layout = Layout.of(image.data, axes, dims=2 if len(region) == 2 else 3)
    pixels = layout.take(image.data, index, region)
    return np.stack([255 * expected(pixels, head) for head in range(1, DEPTH + 1)])


class Fake:
    """In place of the engine; what is computed and written is noted in a folder.

    Parameters
    ----------
    log : Path
        That folder.
    seconds : float
        How long a piece takes.
    fatal : tuple of int, optional
        The start of the region at which the process waits to be killed, the first time.
    """

    def __init__(
        self, log: Path, seconds: float = 0.0, fatal: tuple[int, ...] | None = None
    ) -> None:
        self.log, self.seconds, self.fatal = log, seconds, fatal
        self.broken: tuple[int, ...] | None = None

    def install(self) -> None:
        from zarr.storage import LocalStore

        from napari_unetpp.cluster import engine

        engine.probabilities = self.probabilities  # type: ignore[assignment]
        engine.model_of = lambda content: MODEL  # type: ignore[assignment,return-value]
        engine.use_cores = lambda count: None  # type: ignore[assignment]
        os.fsync = lambda file: None  # no one cuts the power during a test
        if not hasattr(LocalStore, "really_set"):
            LocalStore.really_set = LocalStore.set

        async def noted_set(store: Any, key: str, value: Any) -> None:
            if "zarr.json" not in key:
                self.note(WRITTEN, f"{Path(store.root).name}/{key}")
            await LocalStore.really_set(store, key, value)

        LocalStore.set = noted_set

    def probabilities(self, *arguments: Any, **options: Any) -> NDArray[np.uint8]:
        start = (*options["index"], *(part.start for part in options["region"]))
        if start == self.broken:
            raise UserError("There is a scratch on the disk.")
        if start == self.fatal and not (self.log / VICTIM).exists():
            (self.log / "victim.part").write_text(str(os.getpid()))
            (self.log / "victim.part").rename(self.log / VICTIM)
            time.sleep(60)
        self.note(STARTED, str(start))
        time.sleep(self.seconds)
        self.note(COMPUTED, str(start))
        return probabilities(*arguments, **options)

    def note(self, name: str, line: str) -> None:
        with (self.log / name).open("a") as file:  # short lines are appended whole
            file.write(line + "\n")

    def noted(self, name: str) -> list[str]:
        path = self.log / name
        return sorted(path.read_text().splitlines()) if path.exists() else []
