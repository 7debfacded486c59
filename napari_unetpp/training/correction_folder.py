"""The folder in which corrections outlive a crash, and from which they are learnt again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from napari_unetpp.atomic import write_atomically
from napari_unetpp.errors import UserError
from napari_unetpp.training.corrections import SUFFIX, Correction, Source, native, newest
from napari_unetpp.training.slabs import Slab

REPLAYED_PIXELS = 1 << 23
"""Of earlier corrections, all in all: more would take memory, and time to be scored."""
KEY, PAINTED = "napari_unetpp_correction", "painted"
SLAB, AROUND, INTENSITIES = "napari_unetpp_slab", "around", "intensities"


class _Place(BaseModel):
    """See `Slab`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: int
    place: int
    voxel_size: tuple[float, ...] | None


class CorrectionFolder:
    """The corrections for one family of models, a file each.

    Parameters
    ----------
    folder : Path
        See `Store.corrections_folder`; made when the first correction is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, correction: Correction) -> Path:
        """Write a correction in one step: the disk holds the last one or this one, never a half.

        Raises
        ------
        UserError
            If it can't be written, as with a full disk.
        """
        tensors = {
            "image": native(correction.image),
            "classes": correction.classes,
            "known": correction.known,
            "wrong": correction.wrong,
        }
        about = {KEY: correction.source.model_dump_json()}
        if correction.painted is not None:
            tensors[PAINTED] = native(correction.painted)
        if (slab := correction.slab) is not None:
            tensors |= {AROUND: native(slab.image), INTENSITIES: native(slab.intensities)}
            place = _Place(start=slab.start, place=slab.place, voxel_size=slab.voxel_size)
            about[SLAB] = place.model_dump_json()
        whole = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
        content = save(whole, metadata=about)
        path = self.folder / correction.file_name
        write_atomically(path, content)
        return path

    def take_over(self, paths: Iterable[Path]) -> None:
        """Copy corrections from another family's folder; what isn't there any more is left out.

        Raises
        ------
        UserError
            If they can't be written, as with a full disk.
        """
        for path in paths:
            if path.parent != self.folder:
                with suppress(FileNotFoundError):
                    write_atomically(self.folder / path.name, path.read_bytes())

    def sources(self) -> dict[Path, Source]:
        """What there is, without reading the pixels; files that can't be read are left out."""
        found = {}
        for path in self._paths():
            try:
                found[path] = _read_source(path)
            except UserError:
                continue
        return found

    def load(self) -> tuple[list[Correction], list[str]]:
        """All corrections, and a sentence for each file that had to be left out.

        Of several corrections of one plane the newest is taken.
        """
        corrections: list[Correction] = []
        problems: list[str] = []
        for path in self._paths():
            try:
                corrections.append(read_correction(path))
            except UserError as error:
                problems.append(str(error))
        return newest(corrections), problems

    def replayed(
        self, learnt: Mapping[str, str], corrections: Iterable[Correction]
    ) -> list[Correction]:
        """What to learn again with new `corrections`, so that it isn't forgotten.

        Parameters
        ----------
        learnt : mapping of str to str
            What the model has learnt, `ModelSpec.corrections`. What no version learnt, as the
            gate refused it, is not learnt by the way either, also not in a file that was learnt
            before it was painted on.
        corrections : iterable of Correction
            New ones; they take the place of earlier ones of the same planes.

        Returns
        -------
        list of Correction
            Up to `REPLAYED_PIXELS`, and one plane at least; of more, a random choice that is
            always the same, so that it is from all ages.
        """
        there = {p: s.when for p, s in self.sources().items() if p.name in learnt}
        of_plane = {plane_in(path): path for path in sorted(there, key=there.__getitem__)}
        new = {plane_in(Path(correction.file_name)) for correction in corrections}
        paths = [path for plane, path in of_plane.items() if plane not in new]
        chosen: list[Correction] = []
        for n in np.random.default_rng(0).permutation(len(paths)):
            with suppress(UserError):  # half written
                correction = read_correction(paths[n])
                if correction.content == learnt[paths[n].name]:
                    chosen.append(correction)
            if sum(c.classes.size for c in chosen) >= REPLAYED_PIXELS:
                break
        return chosen

    def _paths(self) -> Sequence[Path]:
        paths = self.folder.glob(f"*{SUFFIX}")  # of a folder that isn't there: none
        return sorted(path for path in paths if not path.name.startswith("."))


def read_correction(path: Path) -> Correction:
    """Read a correction's file.

    Raises
    ------
    UserError
        If it is missing, half written or none.
    """
    source = _read_source(path)
    try:
        with safe_open(path, framework="np") as file:
            names = ("image", "classes", "known", "wrong")
            image, classes, known, wrong = (file.get_tensor(name) for name in names)
            painted = file.get_tensor(PAINTED) if PAINTED in file.keys() else None  # noqa: SIM118
            slab = _read_slab(file)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    fits = image.ndim == 3 and image.shape[1:] == classes.shape == known.shape == wrong.shape
    fits = fits and (painted is None or painted.shape == classes.shape)
    if slab is not None:
        fits = fits and slab.image.ndim == 4 and slab.image.shape[2:] == classes.shape
        fits = fits and 0 <= slab.place < slab.image.shape[1]
    if not fits or (classes.dtype, known.dtype, wrong.dtype) != (np.uint8, bool, bool):
        raise _unreadable(path, "its parts don't fit together")
    return Correction(image, classes, known, wrong, source, painted, slab)


def plane_in(path: Path) -> str:
    """The first half of a file's name tells the plane's pixels, see `Correction.file_name`."""
    return path.name.partition("-")[0]


def _read_slab(file: Any) -> Slab | None:
    """The slab in an open file, if there is one."""
    about = file.metadata() or {}
    if SLAB not in about:
        return None
    try:
        place = _Place.model_validate_json(about[SLAB])
    except ValidationError as error:
        raise SafetensorError("where its planes lie isn't told") from error
    return Slab(
        file.get_tensor(AROUND),
        place.start,
        place.place,
        file.get_tensor(INTENSITIES),
        place.voxel_size,
    )


def _read_source(path: Path) -> Source:
    try:
        found = path.stat()
        return _source_at(path, found.st_mtime_ns, found.st_ino)
    except OSError as error:
        raise _unreadable(path, error) from error


@lru_cache(maxsize=4096)
def _source_at(path: Path, modified: int, inode: int) -> Source:
    """What a file said then: the window asks often, and there may be hundreds of files."""
    try:
        with safe_open(path, framework="np") as file:
            return Source.model_validate_json((file.metadata() or {})[KEY])
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    except (KeyError, ValidationError) as error:
        raise _unreadable(path, "it doesn't say of which image it is") from error


def _unreadable(path: Path, why: object) -> UserError:
    return UserError(f"The correction {path.name} is left out: it can't be read ({why}).")
