"""From what is painted to a new version of the model: save, train in the child, decide, keep."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.models import Store
from napari_unetpp.models.header import SUFFIX
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.training.messages import FinetuneTask, Result
from napari_unetpp.widgets.keeper import Keeper
from napari_unetpp.widgets.kept import Kept
from napari_unetpp.widgets.plan import NOTHING, Plan
from napari_unetpp.widgets.threads import failing_loudly
from napari_unetpp.widgets.trainer import Trainer

FORGOTTEN = 24 * 3600
"""Seconds after which nobody waits for a candidate any more."""


class Finetuning(QObject):
    """One fine-tuning at a time, and the version that came of the last.

    Parameters
    ----------
    store : Store
        The models.
    keeper : Keeper
        The masks.
    parent : QObject, optional
        As in Qt.
    """

    refused = Signal(str)
    """A sentence for the user."""
    failed = Signal(object)
    """The exception: a bug."""
    decided = Signal(object)
    """The `Result`. A better version is being kept; others wait for `keep`."""
    kept = Signal(str)
    """The new version or model is in the store, under this name."""
    ended = Signal()
    """Nothing is being trained any more."""

    def __init__(self, store: Store, keeper: Keeper, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.trainer = Trainer(self)
        self.plan: Plan | None = None
        self.candidate: Path | None = None
        self.made_by: Plan | None = None  # the candidate
        self._learnt: tuple[Path, ...] = ()
        self.running = self.keeping = False
        self._store, self._keeper = store, keeper
        self._unfinished: set[Path] = set()  # survives this object, unlike `candidate`
        self.destroyed.connect(partial(_delete, self._unfinished))  # with the whole window
        _delete(set(_forgotten(store.folder)))
        keeper.gathered.connect(self._on_gathered)
        keeper.failed.connect(self._on_not_saved)
        self.trainer.refused.connect(self.refused)
        self.trainer.failed.connect(lambda text: self.failed.emit(ChildFailed(text)))
        self.trainer.ended.connect(self._on_ended)

    @property
    def waits(self) -> bool:
        """Whether there is a version that the user may keep."""
        return self.candidate is not None and not self.running and not self.keeping

    def start(self, plan: Plan) -> None:
        """Begin: first everything painted goes to the disk."""
        assert not self.running, "one fine-tuning at a time"
        self.plan, self.running = plan, True
        self.trainer.result = None
        self.trainer.warm()
        self._keeper.gather(plan.lesson)

    def stop(self) -> None:
        """End soon, with the best so far."""
        if self.trainer.running:
            self.trainer.stop()
        elif self.running:  # still saving what is painted
            self._end("")

    def keep(self) -> None:
        """Take the candidate into the store; if that fails, it can be tried again."""
        assert self.candidate is not None
        assert self.made_by is not None
        self.keeping = True
        self._unfinished.clear()  # the thread has it now, also if the window closes
        worker = create_worker(
            _add,
            self._store,
            self.candidate,
            self.made_by,
            self._learnt,
            _start_thread=False,
            _connect={"errored": self._on_error},
        )
        worker.returned.connect(self._on_added)  # not to the signal: Qt may have deleted that
        worker.start()

    def discard(self) -> None:
        """Throw the candidate away."""
        if self.candidate is not None:
            _delete(self._unfinished)
            self.candidate = None

    def close(self) -> None:
        """End at once; what is painted is on the disk."""
        self.trainer.close()
        self.discard()
        self.plan, self.running = None, False

    def _on_gathered(self, kept: Sequence[Kept]) -> None:
        if not self.running or self.plan is None or self.trainer.running:
            return
        learnt = tuple(k.path for k in kept if self.plan.lineage in k.mask.families)
        candidate = self._store.folder / f".candidate-{secrets.token_hex(4)}{SUFFIX}"
        try:
            task = self._task(self.plan, learnt, candidate)
        except UserError as error:
            self._end(str(error))
            return
        self.discard()  # what waited to be kept
        self.candidate, self.made_by, self._learnt = candidate, self.plan, learnt
        self._unfinished.add(candidate)
        self.trainer.start(task)

    def _task(self, plan: Plan, learnt: tuple[Path, ...], candidate: Path) -> FinetuneTask:
        new, before = plan.new, self.made_by
        if self.candidate is not None and before is not None and before.new is not None:
            raise UserError(f"The new model {before.new.name} waits: press Keep to keep it first.")
        if not learnt and new is None:
            raise UserError(
                "Nothing was corrected yet: paint where the mask is wrong, then fine-tune."
            )
        if not learnt and not earlier_planes(self._store, plan.model):
            raise UserError(NOTHING)
        return FinetuneTask(
            model=self._store.path(plan.model),
            corrections=learnt,
            earlier_in=self._store.corrections_folder(plan.lineage),
            output=candidate,
            device=plan.device,
            minutes=plan.minutes,
            depth=plan.depth,
            start=plan.start,
            normalisation=plan.normalisation,
            **({} if new is None else vars(new)),
        )

    def _on_ended(self, result: Result | None) -> None:
        if result is None:
            self.discard()
        self.running = False
        self.ended.emit()
        if result is not None:
            if result.verdict.is_kept:
                self.keep()
            self.decided.emit(result)

    def _on_added(self, added: tuple[str, UserError | None]) -> None:
        name, problem = added
        self.candidate, self.keeping = None, False
        if self.plan is not None:
            self.kept.emit(name)
        if problem is not None:
            self.refused.emit(str(problem))

    def _on_error(self, error: Exception) -> None:
        """The version can't be kept; it waits for another try."""
        self.keeping = False
        if self.candidate is not None:
            self._unfinished.add(self.candidate)
        self._tell(error)

    def _on_not_saved(self, error: Exception) -> None:
        """Something that was painted isn't on the disk."""
        self._tell(error)
        if self.running and not self.trainer.running:
            self._end("")

    def _tell(self, error: Exception) -> None:
        if isinstance(error, UserError):
            self.refused.emit(str(error))
        else:
            self.failed.emit(error)

    def _end(self, sentence: str) -> None:
        self.running = False
        if sentence:
            self.refused.emit(sentence)
        self.ended.emit()


class ChildFailed(Exception):
    """A bug in the fine-tuning process; its traceback is the message."""


def _forgotten(folder: Path) -> Iterator[Path]:
    """Candidates that a napari which crashed has left, more than a day ago."""
    for path in folder.glob(f".candidate-*{SUFFIX}"):
        with suppress(OSError):  # another napari was faster
            if time.time() - path.stat().st_mtime > FORGOTTEN:
                yield path


def _delete(paths: set[Path], *_: object) -> None:
    while paths:
        path = paths.pop()
        for file in path.parent.glob(f"*{path.name}*"):  # and what a killed write left of it
            file.unlink(missing_ok=True)


def earlier_planes(store: Store, model: str) -> set[Path]:
    """The files of what a model and its ancestors learnt, as far as they are there."""
    folder = store.corrections_folder(store.lineage(model))
    return {path for name in store.spec(model).corrections if (path := folder / name).is_file()}


def _add(
    store: Store, candidate: Path, plan: Plan, learnt: Sequence[Path]
) -> tuple[str, UserError | None]:
    """Take the candidate in; gives its name, and why what it learnt isn't with its family."""
    with failing_loudly():
        if plan.new is None:
            name = store.add_version(candidate, plan.model)
        else:
            name = store.add_new(candidate, plan.new.name)
        candidate.unlink(missing_ok=True)
        folder = CorrectionFolder(store.corrections_folder(store.lineage(name)))
        try:
            earlier = store.corrections_folder(plan.lineage)
            names = store.spec(name).corrections
            folder.take_over([*(earlier / name for name in names), *learnt])
        except UserError as error:
            return name, error
        return name, None
