"""Room for results: in memory, or in a store on the disk where they would take too much of it.

The store lies in the user's cache folder, in chunks that are compressed, see `on_disk`; what was
never filled takes no room. It goes when nothing refers to it any more, and a store that a killed
process left behind goes with the next one. All stores together have a bound, beyond which no new
run begins.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import psutil

from napari_unetpp.errors import UserError
from napari_unetpp.inference.on_disk import DiskArray, waiting_bytes

SHARE_OF_MEMORY = 1 / 64
"""Of the computer's memory: results that take more than this go to the disk."""
MOST_IN_MEMORY = 256e6
"""Bytes; nor more than this, however much memory there is."""
CACHE = "NAPARI_UNETPP_CACHE"
"""Environment variable that names the folder for the stores in place of the user's cache."""
CHUNK = {2: 512, 3: 64}
"""Side of a chunk: a few hundred kilobytes, so that the brush and the sliders are quick."""
SPARE_BYTES = 1 << 30
"""That have to be free on the disk for a new store."""
MOST = "NAPARI_UNETPP_CACHE_GB"
"""Environment variable: GB that all stores may take, in place of `SHARE_OF_DISK`."""
SHARE_OF_DISK = 0.5
"""Of the disk, as it would be without the stores: other programs want some, too."""


def cache_folder() -> Path:
    """Where the stores are."""
    named = os.environ.get(CACHE)
    return Path(named) if named else Path(platformdirs.user_cache_path("napari-unetpp", False))


def fits_in_memory(needed: float) -> bool:
    """Whether results of so many bytes are kept in memory."""
    share = SHARE_OF_MEMORY * float(psutil.virtual_memory().total)
    return needed <= min(share, MOST_IN_MEMORY)


def room_for(
    shape: Sequence[int], dtype: Any, *, dims: int, in_memory: bool, kept: int | None = None
) -> Any:
    """Zeros: a numpy array, or a `DiskArray`.

    Parameters
    ----------
    shape : sequence of int
        The last `dims` axes are cut into chunks, of the others each position is one.
    dtype : dtype
        Of the values.
    dims : {2, 3}
        How many axes a plane or volume has.
    in_memory : bool
        Where; see `fits_in_memory`.
    kept : int, optional
        As in `DiskArray`.

    Raises
    ------
    UserError
        If the folder can't be written, or the disk is nearly full.
    """
    if in_memory:
        return np.zeros(shape, dtype)
    remove_left_behind()
    folder = _new_folder(cache_folder())
    chunks = [1] * (len(shape) - dims) + [min(CHUNK[dims], n) for n in shape[-dims:]]
    return DiskArray(folder, shape, chunks, dtype, kept)


def _new_folder(parent: Path) -> Path:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(parent).free
        if free < SPARE_BYTES:
            raise UserError(
                f"The results are too large for memory, and just {free / 1e9:.1f} GB are free in "
                f"{parent}: make room, or name another folder in {CACHE}."
            )
        return Path(tempfile.mkdtemp(prefix=prefix_of(os.getpid()), dir=parent))
    except OSError as error:
        raise UserError(
            f"The results are too large for memory, and {parent} can't be written "
            f"({error.strerror}): name another folder in {CACHE}."
        ) from error


def not_written(error: OSError) -> UserError:
    """What to say where a store can't be written any more."""
    return UserError(
        f"The results can't be written to {cache_folder()} ({error.strerror or error}): what is "
        f"there stays; make room, or name another folder in {CACHE}."
    )


@dataclass(frozen=True)
class Use:
    """How much the stores take on the disk, and may take, in bytes."""

    used: int
    most: float


def use_of_disk() -> Use:
    """Look at all stores; with a million chunks that takes some seconds.

    Raises
    ------
    UserError
        If the bound that the user set is none.
    """
    used = used_bytes()
    there = next(p for p in (cache_folder(), *cache_folder().absolute().parents) if p.is_dir())
    return Use(used, _bound(SHARE_OF_DISK * (shutil.disk_usage(there).free + used)))


def check_room() -> None:
    """Refuse a new run whose results would go to the disk, where others fill their share of it.

    Raises
    ------
    UserError
        If they do.
    """
    remove_left_behind()
    use = use_of_disk()
    if use.used >= use.most:
        raise UserError(
            f"Results take {use.used / 1e9:.1f} GB in {cache_folder()}, and {use.most / 1e9:.1f} "
            "GB are allowed: close layers that you don't need (Advanced ▸ Remove unused), or set "
            f"{MOST} to more GB."
        )


def used_bytes() -> int:
    """How much the stores take on the disk, with what is about to be written to them."""
    return sum(_bytes_in(folder) for folder in _stores()) + waiting_bytes(cache_folder())


def remove_store(array: Any) -> None:
    """Remove what `room_for` gave from the disk; whoever still reads it gets zeros."""
    if isinstance(array, DiskArray):
        array.clear()


def remove_left_behind() -> None:
    """Remove the stores of processes that are gone; what other computers do, nobody knows here."""
    for folder in _stores():
        number = folder.name.split("-")[2]
        is_process = number.isdigit() and folder.name.startswith(prefix_of(int(number)))
        if is_process and not psutil.pid_exists(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def prefix_of(process: int, computer: str = platform.node()) -> str:
    """How the names of the stores of a process begin; computers may share the cache folder."""
    return f"results-{re.sub(r'[^A-Za-z0-9.]', '_', computer) or 'computer'}-{process}-"


def _bound(usual: float) -> float:
    text = os.environ.get(MOST)
    try:
        most = usual if text is None else float(text) * 1e9
    except ValueError:
        most = -1.0
    if not most >= 0:
        raise UserError(f"{MOST} is {text!r}: give a number of GB, or unset it.")
    return most


def _stores() -> list[Path]:
    return list(cache_folder().glob("results-*-*-*")) if cache_folder().is_dir() else []


NOT_OURS = FileNotFoundError, NotADirectoryError, PermissionError


def _bytes_in(folder: str | Path) -> int:
    """Of all files that are there; others may come and go meanwhile, or be another user's."""
    total = 0
    with suppress(*NOT_OURS), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(*NOT_OURS):
                is_folder = entry.is_dir(follow_symlinks=False)
                total += _bytes_in(entry.path) if is_folder else entry.stat().st_size
    return total


def bytes_of(shape: Sequence[int], dtype: Any) -> int:
    """What an array takes in memory."""
    return prod(shape) * int(np.dtype(dtype).itemsize)
