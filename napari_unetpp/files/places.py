"""Where images and masks are: files and folders, or URLs of stores on other machines."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from napari_unetpp.errors import UserError

if TYPE_CHECKING:
    from zarr.abc.store import Store

Source: TypeAlias = Path | str
"""A path, or a URL such as "https://…" or "s3://…" as a string."""

STORE_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
"""What lies at the top of a zarr store, of either format."""


def is_url(source: Source) -> bool:
    """Whether it is a URL rather than a path."""
    return isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None


def as_source(text: str) -> Source:
    """What a user typed, as a path if it is no URL."""
    return text if is_url(text) else Path(text)


def name_of(source: Source) -> str:
    """The last part of a path or URL."""
    if isinstance(source, Path):
        return source.name or str(source)
    return PurePosixPath(source.partition("://")[2].partition("?")[0]).name or source


def is_store(source: Source) -> bool:
    """Whether it is, or by its name has to be, a folder of zarr."""
    if is_url(source):
        return True
    path = Path(source)
    return path.is_dir() and (
        path.suffix.lower() == ".zarr" or any((path / mark).is_file() for mark in STORE_MARKS)
    )


def zarr_store(source: Source, *, read_only: bool = True) -> Store:
    """What zarr reads from and writes to.

    Raises
    ------
    UserError
        If a package for URLs of this kind is missing, or there is no such kind.
    """
    from zarr.storage import FsspecStore, LocalStore

    if not is_url(source):
        return LocalStore(source, read_only=read_only)
    kind = str(source).partition("://")[0]
    try:
        return FsspecStore.from_url(str(source), read_only=read_only)
    except ImportError as error:  # fsspec's text names the package for this kind
        raise UserError(
            f"Addresses that begin with {kind}:// need one more package ({error}): install it."
        ) from error
    except ValueError as error:
        raise UserError(
            f"{source} can't be opened ({error}): give a folder, or a URL of a known kind such as "
            "https:// or s3://."
        ) from error
