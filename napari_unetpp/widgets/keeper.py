"""Keeps what the user paints: on the disk a few seconds after each stroke, and for learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from napari.components import LayerList
from napari.layers import Labels
from napari.qt.threading import create_worker
from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Index
from napari_unetpp.models import Store
from napari_unetpp.widgets.geometry import is_result
from napari_unetpp.widgets.in_view import image_over
from napari_unetpp.widgets.kept import Kept, Saved, save_changed
from napari_unetpp.widgets.lesson import Lesson
from napari_unetpp.widgets.mask import Mask

AUTOSAVE = 2000
"""Milliseconds after a stroke until it is saved."""


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
        # In which something changed that isn't saved yet, or is being saved.
        self._unsaved: set[Labels] = set()
        self._being_saved: set[Labels] = set()
        self._behind: list[Thread] = []  # that save what was let go of
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

    def replace(self, mask: Mask, *, save: bool) -> None:
        """Watch a layer as another mask, as for another model; see `forget` for `save`."""
        edited = self._edited
        self.forget(mask.layer, save=save)
        self.watch(mask)
        if mask.layer in edited:  # so that an undo is noticed, as before
            self._edited = edited
            self._save_soon(mask.layer)

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
            self._save_last([self._masks[layer]])
        if (mask := self._masks.pop(layer, None)) is not None:
            for event in _events(layer):
                event.disconnect(self._on_edit)
            if layer in self._edited:
                self._edited = [other for other in self._edited if other is not layer]
            self._unsaved.discard(layer)
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
        self._save_last(list(self._masks.values()))
        self._closed = True
        for layer in list(self._masks):
            self.forget(layer)

    def wait(self) -> None:
        """Wait until all that was let go of is saved: the application is about to quit."""
        for thread in self._behind:
            thread.join()

    def _on_edit(self, event: Any) -> None:
        layer, mask = event.source, self._masks[event.source]
        if event.type == "set_data":
            # An undo just says that the layer is drawn anew, as a move of the slider does.
            if layer in self._edited:
                self._save_soon(layer)
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
            mask.planes.check()
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
        self._save_soon(layer)

    def _save_soon(self, layer: Labels) -> None:
        self._unsaved.add(layer)
        if not self._timer.isActive():
            self._timer.start()

    def _save_last(self, masks: Sequence[Mask]) -> None:
        """Save masks that are let go of; a script's painting may be in any of them.

        Nothing tells of that. To compare a large layer takes too long for the window to wait, and
        nearly always there is nothing: a thread does it, for which the application waits before it
        quits. When Python ends would be too late: stores on the disk can't be read then.
        """
        changed = self._unsaved | self._being_saved
        now = [mask for mask in masks if mask.planes.is_small or mask.layer in changed]
        saved = save_changed(now, self.lesson, self.kept, self._store)
        if saved.problem is not None:
            self.failed.emit(saved.problem)
        if later := [mask for mask in masks if mask not in now]:
            arguments = later, self.lesson, dict(self.kept), self._store
            thread = Thread(target=save_changed, args=arguments)
            thread.start()
            self._behind.append(thread)
            if (application := QCoreApplication.instance()) is not None:
                application.aboutToQuit.connect(thread.join)

    def _save(self) -> None:
        if self._worker is not None:
            self._again = True
            return
        self._again = False
        self._being_saved, self._unsaved = self._unsaved, set()
        worker = create_worker(
            save_changed,
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

    def _on_saved(self, saved: Saved) -> None:
        self._worker = None
        if saved.problem is not None:
            self._unsaved |= self._being_saved
        self._being_saved = set()
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
        self._unsaved |= self._being_saved
        self._gathering = False
        self.failed.emit(error)


def _events(layer: Labels) -> tuple[Any, ...]:
    """Whatever may mean that pixels changed: strokes, undo, scripts, new data."""
    events = layer.events
    return events.paint, events.labels_update, events.data, events.set_data
