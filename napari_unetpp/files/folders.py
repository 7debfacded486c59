"""Which files there are, which belong together, and what their results are called."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath

from napari_unetpp.errors import UserError
from napari_unetpp.files.places import Source, is_store

TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg", ".bmp")


def image_paths(folder: Path) -> list[Path]:
    """The images of a folder, files and folders of zarr, sorted by name; hidden ones are left out.

    Raises
    ------
    UserError
        If there is no such folder, it can't be read, or no image is in it.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: check the name.")
    try:
        paths = sorted(
            path
            for path in folder.iterdir()
            if not path.name.startswith(".") and (path.suffix.lower() in SUFFIXES or is_store(path))
        )
    except OSError as error:
        raise UserError(f"The folder {folder} can't be read ({error.strerror}).") from error
    if not paths:
        raise UserError(
            f"There is no image in {folder}: images end in {', '.join(SUFFIXES)} or are folders of "
            "OME-Zarr."
        )
    return paths


def find_pairs(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    """Match the images of a folder with the labels of the same name (the ending may differ).

    Two files are a pair, whatever their names. A folder of zarr counts as a file.

    Raises
    ------
    UserError
        If a folder is missing or empty, an image has no labels, or just one is a file.
    """
    files = [path.is_file() or is_store(path) for path in (images, labels)]
    if all(files):
        return [(images, labels)]
    if any(files):
        raise UserError(
            f"Of {images} and {labels} one is a file: give two files, or two folders with files "
            "of the same names."
        )
    of_stem = {path.stem: path for path in image_paths(labels)}
    pairs = [(path, of_stem.get(path.stem)) for path in image_paths(images)]
    missing = [image.name for image, label in pairs if label is None]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(pairs)} images have no labels of the same name in {labels}, "
            f"the first is {missing[0]}: add its labels or take the image away."
        )
    return [(image, label) for image, label in pairs if label is not None]


def output_names(sources: Sequence[Source]) -> dict[Source, str]:
    """A name of its own for the results of each file: its stem, or more where stems are the same.

    Files of the same stem are told apart by what comes after the folder that they have in common:
    `a/cell.tif` and `b/cell.tif` become "a_cell_tif" and "b_cell_tif". Names that differ by case
    only count as the same, as some file systems can't tell them apart.
    """
    same: dict[str, list[Source]] = defaultdict(list)
    for source in dict.fromkeys(sources):
        same[_whole(source).stem.casefold()].append(source)
    names: dict[Source, str] = {}
    taken = set(same)  # a stem is free for the files that have it, and only if there is just one
    for group in same.values():
        if len(group) == 1:
            names[group[0]] = _whole(group[0]).stem
            continue
        parts = [_whole(source).parts for source in group]
        levels = zip(*(inside[:-1] for inside in parts), strict=False)
        shared = len(list(takewhile(lambda folders: len(set(folders)) == 1, levels)))
        for source, inside in zip(group, parts, strict=True):
            name = _untaken(re.sub(r"[.:/\\]+", "_", "_".join(inside[shared:])), taken)
            taken.add(name.casefold())
            names[source] = name
    return names


def _whole(source: Source) -> PurePath:
    """The path from the root; that of a URL begins with its host."""
    if isinstance(source, Path):
        return source.absolute()
    return PurePosixPath("/" + source.partition("://")[2].partition("?")[0])


def _untaken(name: str, taken: set[str]) -> str:
    number, candidate = 2, name
    while candidate.casefold() in taken:
        number, candidate = number + 1, f"{name}_{number}"
    return candidate
