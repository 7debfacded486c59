"""Keeps what the user paints: on the disk a few seconds after each stroke, and for learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from napari.components import LayerList
from napari.layers import Labels
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Index
from napari_unetpp.models import Store
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.widgets.geometry import is_result
from napari_unetpp.widgets.in_view import image_over
from napari_unetpp.widgets.lesson import Lesson
from napari_unetpp.widgets.mask import Mask
from napari_unetpp.widgets.threads import failing_loudly

_SAVING = Lock()
"""One at a time: what is saved in a thread must not come after what is saved at the end."""
AUTOSAVE = 2000
"""Milliseconds after a stroke until it is saved."""


@dataclass(frozen=True)
class Kept:
    """A plane's correction on the disk."""

    mask: Mask
    index: Index
    path: Path
    checksums: tuple[int, int]
    painted_at: str


class Keeper(QObject):
    """Watches masks and saves their corrections, in a thread.

    Parameters
    ----------
    store : Store
        Whose folder of corrections is used.
    layers : LayerList
        The viewer's.
    parent : QObject, optional
        As in Qt.
    """

    changed = Signal()
    """Another layer was edited last, or other planes are corrected now; see `kept`."""
    gathered = Signal(object)
    """All is on the disk: a list of `Kept`."""
    astray = Signal(object)
    """A `Mask` that was painted over another image than its own, see `Mask.over`."""
    failed = Signal(object)
    """The exception that ended saving or gathering."""

    def __init__(self, store: Store, layers: LayerList, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.lesson = Lesson()
        self.kept: dict[tuple[str, Index], Kept] = {}
        self._store, self._layers = store, layers
        self._masks: dict[Labels, Mask] = {}
        self._edited: list[Labels] = []  # the one edited last comes last
        self._worker: Any = None
        self._gathering = False
        self._again = False
        self._closed = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(AUTOSAVE)
        self._timer.timeout.connect(self._save)

    @property
    def last_edited(self) -> Labels | None:
        """The layer that was painted last."""
        return self._edited[-1] if self._edited else None

    def mask_of(self, layer: Labels | None) -> Mask | None:
        """The mask that a layer is watched as."""
        return None if layer is None else self._masks.get(layer)

    def watch(self, mask: Mask) -> None:
        """Keep what is painted in a mask from now on."""
        if mask.layer in self._masks:
            return
        if any(mask.identity == other.identity for other in self._masks.values()):
            mask.renew()
        self._masks[mask.layer] = mask
        for event in _events(mask.layer):
            event.connect(self._on_edit)

    def adopt(self, mask: Mask, files: Mapping[Index, Path]) -> None:
        """Watch a mask whose planes are on the disk already."""
        self.watch(mask)
        for index, path in files.items():
            checksums = mask.checksums(index, self.lesson)
            self.kept[mask.identity, index] = Kept(mask, index, path, checksums, "")
        self._note(mask.layer)

    def forget(self, layer: Labels, *, save: bool = True) -> None:
        """Watch a layer no more; what was painted is saved and stays.

        Not to be saved is what can't be any more, as the image has other pixels now.
        """
        if save and layer in self._masks and not self._closed:
            self._save_now([self._masks[layer]])  # a script's painting may be in any of them
        if (mask := self._masks.pop(layer, None)) is not None:
            for event in _events(layer):
                event.disconnect(self._on_edit)
            if layer in self._edited:
                self._edited.remove(layer)
            self.kept = {k: v for k, v in self.kept.items() if v.mask is not mask}

    def mark_checked(self, mask: Mask, index: Index) -> None:
        """A plane is right as it is; once more, and it isn't."""
        mask.checked ^= {index}
        self._note(mask.layer)

    def gather(self, lesson: Lesson) -> None:
        """Have every correction on the disk, as `lesson` says; `gathered` tells when."""
        self.lesson = lesson
        self._gathering = True
        self._save()

    def close(self) -> None:
        """Save what isn't yet, and let go of the layers."""
        self._timer.stop()
        if self._worker is not None:
            self._worker.returned.disconnect(self._on_saved)
            self._worker.errored.disconnect(self._on_error)
        self._save_now(list(self._masks.values()))
        self._closed = True
        for layer in list(self._masks):
            self.forget(layer)

    def _on_edit(self, event: Any) -> None:
        layer, mask = event.source, self._masks[event.source]
        if event.type == "set_data":
            # An undo just says that the layer is drawn anew, as a move of the slider does.
            if layer in self._edited:
                self._save_soon()
            return
        if event.type == "data" and not self._goes_on(mask):
            return
        if event.type != "data" and not mask.is_settled:
            self._look_over(mask)
        if mask.counts or mask.over is None:
            mask.counts = True
            self._note(layer)

    def _goes_on(self, mask: Mask) -> bool:
        """Whether all that is in a layer was replaced by something that counts, too.

        What a program writes into a layer of the user's own is no painting, unless it is meant as
        a mask already. With another shape it can't be one: the last planes stay on the disk.
        """
        try:
            mask.check()
        except UserError as error:
            self.forget(mask.layer, save=False)
            if mask.counts:
                self.failed.emit(error)
            return False
        return mask.counts or is_result(mask.layer)

    def _look_over(self, mask: Mask) -> None:
        """Doubt whose mask it is, where the user saw another image while painting it."""
        over = image_over(self._layers, mask.layer, {mask.image, *mask.sources.layers})
        if over is not None and over is not mask.over:
            mask.over = over
            self.astray.emit(mask)

    def _note(self, layer: Labels) -> None:
        if self.last_edited is not layer:
            self._edited = [*(other for other in self._edited if other is not layer), layer]
            self.changed.emit()
        self._save_soon()

    def _save_soon(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _save_now(self, masks: Sequence[Mask]) -> None:
        saved = _saved(masks, self.lesson, self.kept, self._store)
        if saved.problem is not None:
            self.failed.emit(saved.problem)

    def _save(self) -> None:
        if self._worker is not None:
            self._again = True
            return
        self._again = False
        worker = create_worker(
            _saved,
            list(self._masks.values()),
            self.lesson,
            dict(self.kept),
            self._store,
            _start_thread=False,
            _connect={"errored": self._on_error},
        )
        worker.returned.connect(self._on_saved)
        self._worker = worker
        worker.start()

    def _on_saved(self, saved: _Saved) -> None:
        self._worker = None
        before = set(self.kept)
        there = (k for k in saved.kept if k.mask.layer in self._masks)
        self.kept = {(k.mask.identity, k.index): k for k in there}
        if set(self.kept) != before:
            self.changed.emit()
        if self._again:
            self._save()
            return
        if saved.problem is not None:
            self._on_error(saved.problem)
        elif self._gathering:
            self._gathering = False
            kept = [k for k in self.kept.values() if k.mask.is_learnt(k.index, self.lesson)]
            self.gathered.emit(kept)

    def _on_error(self, error: Exception) -> None:
        self._worker = None
        self._gathering = False
        self.failed.emit(error)


@dataclass(frozen=True)
class _Saved:
    """All that is on the disk now, and the first reason why something isn't."""

    kept: list[Kept]
    problem: UserError | None


def _saved(
    masks: Sequence[Mask], lesson: Lesson, kept: dict[tuple[str, Index], Kept], store: Store
) -> _Saved:
    """Save what differs from what is on the disk; one plane that can't be is not in the way."""
    result: list[Kept] = []
    problem: UserError | None = None
    with failing_loudly(), _SAVING:
        for mask in masks:
            folder = CorrectionFolder(store.corrections_folder(mask.lineage))
            before = {k.index: k for k in kept.values() if k.mask is mask}
            try:
                corrected = mask.corrected()
            except UserError as error:
                problem = problem or error
                result += before.values()  # their files are still there
                continue
            for index in corrected:
                try:
                    result.append(_kept_anew(mask, index, lesson, before.get(index), folder))
                except UserError as error:
                    problem = problem or error
                    result += [before[index]] if index in before else []
            for index in before.keys() - set(corrected):
                _remove(before[index].path)  # undone by the user: the prediction is back
    return _Saved(result, problem)


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


def _events(layer: Labels) -> tuple[Any, ...]:
    """Whatever may mean that pixels changed: strokes, undo, scripts, new data."""
    events = layer.events
    return events.paint, events.labels_update, events.data, events.set_data
