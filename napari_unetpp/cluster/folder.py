"""A folder of small files, on this machine or in an object store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_unetpp.atomic import write_atomically
from napari_unetpp.errors import UserError
from napari_unetpp.files import Source, is_url


class Folder:
    """Files that are there whole or not at all, by their names with slashes.

    Parameters
    ----------
    place : Path or str
        A path, or a URL that fsspec knows.

    Raises
    ------
    UserError
        If a package for URLs of this kind is missing.
    """

    def __init__(self, place: Source) -> None:
        self._place = place
        self._remote: Any = None
        if is_url(place):
            self._remote, self._root = _opened(str(place))

    def read(self, name: str) -> bytes | None:
        """What is in a file; None if it isn't there."""
        try:
            if self._remote is None:
                return (Path(self._place) / name).read_bytes()
            content: bytes = self._remote.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file in one step.

        Raises
        ------
        UserError
            If it can't be written on this machine.
        """
        if self._remote is None:
            write_atomically(Path(self._place) / name, content)
        else:  # an object store shows an object when it is complete
            self._remote.pipe_file(f"{self._root}/{name}", content)

    def names(self, below: str) -> Iterator[str]:
        """The files in a folder and its folders; none if it isn't there."""
        if self._remote is None:
            root = Path(self._place)
            for path in (root / below).rglob("*"):
                if path.is_file() and not path.name.startswith("."):
                    yield path.relative_to(root).as_posix()
            return
        self._remote.invalidate_cache()
        for path in self._remote.find(f"{self._root}/{below}"):
            yield path.removeprefix(self._root).lstrip("/")

    def exists(self) -> bool:
        """Whether there is such a folder, or a file of its name."""
        if self._remote is None:
            return Path(self._place).exists()
        self._remote.invalidate_cache()
        return bool(self._remote.exists(self._root))

    def remove(self) -> None:
        """Take it away with all that is in it; nothing happens if it isn't there."""
        if not self.exists():
            return
        if self._remote is not None:
            self._remote.rm(self._root, recursive=True)
        elif (path := Path(self._place)).is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    kind = url.partition("://")[0]
    try:
        from fsspec.core import url_to_fs

        system, root = url_to_fs(url)
    except ImportError as error:
        raise UserError(
            f"Addresses that begin with {kind}:// need one more package ({error}): install it."
        ) from error
    except ValueError as error:
        raise UserError(
            f"{url} can't be opened ({error}): give a folder, or a URL of a known kind like s3://."
        ) from error
    return system, root.rstrip("/")
