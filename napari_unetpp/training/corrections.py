"""What the user corrected, plane by plane, and the folder in which it outlives a crash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy import ndimage

from napari_unetpp.atomic import write_atomically
from napari_unetpp.errors import UserError
from napari_unetpp.training.labels import LabelKind, read_labels

Trust = Literal["planes", "margin", "scribbles"]
"""Which pixels of a plane are right: all, those near to a change, or those that are painted."""

REPLAYED_PIXELS = 1 << 23
"""Of earlier corrections, all in all: more would take memory, and time to be scored."""
MARGIN = 24
"""Pixels around a change that the user has looked at, with trust in the margin."""
SUFFIX = ".safetensors"
KEY, PAINTED = "napari_unetpp_correction", "painted"


class Source(BaseModel):
    """Where a correction comes from.

    Attributes
    ----------
    image : str
        Name of the image.
    shape : tuple of int
        Of the image, so that it is known again.
    index : tuple of int
        Of the plane, over the outer axes.
    layer : str
        Identifies the layer that was painted: one correction a plane and layer.
    trust : {"planes", "margin", "scribbles"}
        Which pixels count as known.
    when : str
        ISO 8601 date and time in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    shape: tuple[int, ...] = ()
    index: tuple[int, ...] = ()
    layer: str = ""
    trust: Trust = "planes"
    when: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))


@dataclass(frozen=True)
class Correction:
    """One plane with what is known of it.

    Attributes
    ----------
    image : array
        Shape ``(c, y, x)``: the channels that the model sees, intensities as in the file.
    classes : uint8 array
        Shape ``(y, x)``: 0 is background, n the n-th class.
    known : bool array
        Shape ``(y, x)``: where `classes` is to be learnt from.
    wrong : bool array
        Shape ``(y, x)``: where the prediction was another.
    source : Source
        Where it comes from.
    painted : int array, optional
        Shape ``(y, x)``: the labels themselves where `classes` don't say all, as of instances.
    """

    image: NDArray[Any]
    classes: NDArray[np.uint8]
    known: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    source: Source = field(default_factory=lambda: Source(image=""))
    painted: NDArray[Any] | None = None

    @cached_property
    def plane(self) -> str:
        """SHA-256 of the plane's pixels: the same plane is the same under any name."""
        return digest_of(self.image)

    @cached_property
    def content(self) -> str:
        """SHA-256 of what is known of the plane."""
        return digest_of(np.where(self.known, self.classes.astype(np.int16), -1))

    @property
    def file_name(self) -> str:
        """Name of its file: a later correction in the same layer replaces an earlier one."""
        layer = hashlib.sha256(f"{self.source.layer} {self.source.index}".encode()).hexdigest()
        return f"{self.plane[:16]}-{layer[:16]}{SUFFIX}"


def correct(
    image: NDArray[Any],
    labels: NDArray[Any],
    *,
    kind: LabelKind,
    trust: Trust = "planes",
    predicted: NDArray[Any] | None = None,
    margin: int = MARGIN,
    source: Source,
) -> Correction:
    """A correction from a painted plane.

    Parameters
    ----------
    image : array
        Shape ``(c, y, x)``, the channels that the model sees.
    labels : int array
        Shape ``(y, x)``, as painted.
    kind : {"classes", "instances", "scribbles"}
        What the labels mean. Scribbles are known where they are painted, whatever the trust.
    trust : {"planes", "margin"}
        Which pixels count as right.
    predicted : int array, optional
        Shape ``(y, x)``: what was shown before it was painted; classes, or with instances
        instances or a mask. Without it, nothing was predicted, and every labelled pixel is wrong.
    margin : int
        Pixels around a change that count with trust in the margin.
    source : Source
        Where it comes from.

    Raises
    ------
    UserError
        If the shapes differ, the image is no finite number anywhere, or as `read_labels`.
    """
    if labels.shape != image.shape[1:]:
        raise UserError(
            f"The labels of {source.image} have shape {labels.shape}, but its planes "
            f"{image.shape[1:]}: take the labels of this image."
        )
    if not np.isfinite(image).any():
        raise UserError(
            f"{source.image} has no finite intensity in the corrected plane: there is nothing to "
            "learn from it."
        )
    classes, known = read_labels(labels, kind)
    wrong = np.asarray(labels > 0)
    if predicted is not None:  # by class: that an object gets another number is no change
        shown, _ = read_labels(predicted, "instances" if kind == "instances" else "classes")
        wrong = known & (classes != shown)
    if kind == "scribbles":
        trust = "scribbles"
    elif trust == "margin":
        distance = ndimage.distance_transform_edt(~wrong) if wrong.any() else np.inf
        known = np.broadcast_to(distance <= margin, known.shape).copy()
    source = source.model_copy(update={"trust": trust})
    painted = labels if kind == "instances" else None
    return Correction(image, classes, known, wrong, source, painted)


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
            "image": _native(correction.image),
            "classes": correction.classes,
            "known": correction.known,
            "wrong": correction.wrong,
        }
        if correction.painted is not None:
            tensors[PAINTED] = _native(correction.painted)
        whole = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
        content = save(whole, metadata={KEY: correction.source.model_dump_json()})
        path = self.folder / correction.file_name
        write_atomically(path, content)
        return path

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
        of_plane = {_plane_in(path): path for path in sorted(there, key=there.__getitem__)}
        new = {_plane_in(Path(correction.file_name)) for correction in corrections}
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


def newest(corrections: Iterable[Correction]) -> list[Correction]:
    """One correction a plane: what was painted last holds."""
    by_age = sorted(corrections, key=lambda correction: correction.source.when)
    return list({correction.plane: correction for correction in by_age}.values())


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
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    fits = image.ndim == 3 and image.shape[1:] == classes.shape == known.shape == wrong.shape
    fits = fits and (painted is None or painted.shape == classes.shape)
    if not fits or (classes.dtype, known.dtype, wrong.dtype) != (np.uint8, bool, bool):
        raise _unreadable(path, "its parts don't fit together")
    return Correction(image, classes, known, wrong, source, painted)


def _plane_in(path: Path) -> str:
    """The first half of a file's name tells the plane's pixels, see `Correction.file_name`."""
    return path.name.partition("-")[0]


def digest_of(image: NDArray[Any]) -> str:
    """SHA-256 of pixels, in any memory order."""
    digest = hashlib.sha256(f"{image.shape} {image.dtype.name}".encode())
    digest.update(np.ascontiguousarray(_native(image)).tobytes())
    return digest.hexdigest()


def _native(image: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in this computer's byte order."""
    return image.astype(image.dtype.newbyteorder("="), copy=False)


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
