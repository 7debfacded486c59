"""The corrections of masks on the disk: written where they differ, removed if undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from weakref import WeakKeyDictionary

from napari.layers import Labels

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Index
from napari_unetpp.models import Store
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.widgets.lesson import Lesson
from napari_unetpp.widgets.mask import Mask
from napari_unetpp.widgets.threads import failing_loudly

_SAVING: WeakKeyDictionary[Labels, Lock] = WeakKeyDictionary()
"""A layer is saved by one thread at a time: no older labels must be written after newer ones."""


@dataclass(frozen=True)
class Kept:
    """A plane's correction on the disk."""

    mask: Mask
    index: Index
    path: Path
    checksums: tuple[int, int]
    painted_at: str


@dataclass(frozen=True)
class Saved:
    """All that is on the disk now, and the first reason why something isn't."""

    kept: list[Kept]
    problem: UserError | None


def save_changed(
    masks: Sequence[Mask], lesson: Lesson, kept: Mapping[tuple[str, Index], Kept], store: Store
) -> Saved:
    """Save what differs from what is on the disk; one plane that can't be is not in the way."""
    result: list[Kept] = []
    problem: UserError | None = None
    with failing_loudly():
        for mask in masks:
            folder = CorrectionFolder(store.corrections_folder(mask.lineage))
            before = {k.index: k for k in kept.values() if k.mask is mask}
            with _SAVING.setdefault(mask.layer, Lock()):
                there, reason = _save_mask(mask, lesson, before, folder)
            result += there
            problem = problem or reason
    return Saved(result, problem)


def _save_mask(
    mask: Mask, lesson: Lesson, before: Mapping[Index, Kept], folder: CorrectionFolder
) -> tuple[list[Kept], UserError | None]:
    result: list[Kept] = []
    problem: UserError | None = None
    try:
        corrected = mask.corrected()
    except UserError as error:
        return list(before.values()), error  # their files are still there
    for index in corrected:
        try:
            result.append(_kept_anew(mask, index, lesson, before.get(index), folder))
        except UserError as error:
            problem = problem or error
            result += [before[index]] if index in before else []
    for index in before.keys() - set(corrected):
        _remove(before[index].path)  # undone by the user: the prediction is back
    return result, problem


def _kept_anew(
    mask: Mask, index: Index, lesson: Lesson, before: Kept | None, folder: CorrectionFolder
) -> Kept:
    """A plane on the disk, written if it isn't there as it is now."""
    checksums = mask.checksums(index, lesson)
    if before is not None and before.checksums == checksums and before.path.is_file():
        return before
    repainted = before is None or before.checksums[0] != checksums[0]
    painted_at = None if repainted or before is None else before.painted_at or None
    correction = mask.correction(index, lesson, painted_at=painted_at)
    path = folder.save(correction)
    return Kept(mask, index, path, checksums, correction.source.when)


def _remove(path: Path) -> None:
    with suppress(OSError):  # on Windows somebody may be reading it
        path.unlink()
