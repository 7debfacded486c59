"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from napari_unetpp.errors import UserError

WAITS = (0.1, 0.3, 0.6, 1.0) if os.name == "nt" else ()
"""Seconds. On Windows virus scanners and the like open each new file for a moment."""


@contextmanager
def replacing(path: Path, *, new: bool = False) -> Iterator[BinaryIO]:
    """Open a file beside `path` that takes its place when the block ends without an error.

    A write that is killed or fails leaves `path` as it was, and nothing half written under its
    name. The folder is made. With `new`, the path must be free: of two programs that want the
    same name just one gets it.

    Raises
    ------
    FileExistsError
        If `path` exists and has to be new.
    UserError
        If the folder or the file can't be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Not `tempfile`, whose files no one else may read, in a shared folder neither.
            with temporary.open("x+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _claim(temporary, path) if new else _patiently(partial(temporary.replace, path))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if new and isinstance(error, FileExistsError) and path.exists():
            raise
        raise UserError(
            f"{path} can't be written ({error.strerror or error}): choose another place or make "
            "room."
        ) from error


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a folder: gives one beside `path` to be filled.

    What is at `path` is there until the new folder is complete.

    Raises
    ------
    UserError
        If the folder can't be written.
    """
    mark = secrets.token_hex(4)
    temporary, old = (path.with_name(f".{path.name}.{mark}{end}") for end in ("", ".old"))
    try:
        temporary.mkdir(parents=True)
        try:
            yield temporary
            if path.exists():  # a folder can't take the place of one that isn't empty
                _patiently(partial(path.rename, old))
            _patiently(partial(temporary.rename, path))
        except BaseException:
            if old.exists():
                old.rename(path)
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise UserError(
            f"{path} can't be written ({error.strerror or error}): choose another place or make "
            "room."
        ) from error
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write `content` to `path` as `replacing` does.

    Raises
    ------
    FileExistsError
        If `path` exists and has to be new.
    UserError
        If the folder or the file can't be written.
    """
    with replacing(path, new=new) as file:
        file.write(content)


def _patiently(move: Callable[[], object]) -> None:
    """Do it once more, a moment later, where another program holds a file."""
    for seconds in WAITS:
        try:
            move()
        except PermissionError:
            time.sleep(seconds)
        else:
            return
    move()


def _claim(temporary: Path, path: Path) -> None:
    """Give a finished file a name that nobody has, in one step."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the name is reserved, then filled
        path.open("x").close()
        temporary.replace(path)
    else:
        temporary.unlink()
