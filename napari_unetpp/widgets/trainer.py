"""The fine-tuning process, from the window's side."""

from __future__ import annotations

import sys
from collections.abc import Callable

from qtpy.QtCore import QObject, QProcess, QTimer, Signal

from napari_unetpp.training.child import STOP
from napari_unetpp.training.messages import FinetuneEvent, FinetuneTask, Message, Result

MODULE = "napari_unetpp.training.child"
GRACE = 1500
"""Milliseconds after which a process that was asked to stop is ended: its best is on the disk."""
SILENCE = 120_000
"""Milliseconds without a word after which a process is taken for hung: no step takes as long."""
LONGER_SILENCE = 10 * SILENCE
"""The same for a new model, which may be many times as large as those that are shipped."""


class Trainer(QObject):
    """One fine-tuning after the other, each in a process of its own.

    A process is started ahead (`warm`), since it takes seconds until it has loaded what it needs,
    and ends with its fine-tuning, which gives all memory back.
    """

    stepped = Signal(object)
    """`FinetuneEvent`."""
    refused = Signal(str)
    """A sentence for the user: the task can't be done."""
    failed = Signal(str)
    """The traceback of a bug in the process."""
    ended = Signal(object)
    """The last signal of a fine-tuning: its `Result`, None if nothing came of it."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.result: Result | None = None
        self._process: QProcess | None = None
        self._task: FinetuneTask | None = None
        self._told_end = False
        self.stopped = False
        self._grace = _timer(self, GRACE, self._kill)
        self._silence = _timer(self, SILENCE, self._on_silence)

    @property
    def running(self) -> bool:
        """Whether a fine-tuning is on."""
        return self._task is not None

    @property
    def process_id(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._process is None else int(self._process.processId())

    def warm(self) -> None:
        """Have a process ready."""
        if self._process is not None:
            return
        process = QProcess(self)
        process.setProcessChannelMode(QProcess.ProcessChannelMode.ForwardedErrorChannel)
        process.readyReadStandardOutput.connect(self._read)
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        self._process = process
        # -P: no modules from the folder that napari happens to be in.
        process.start(sys.executable, ["-P", "-m", MODULE])

    def start(self, task: FinetuneTask) -> None:
        """Begin; if the process isn't ready yet, the task waits for it."""
        assert not self.running, "one fine-tuning at a time"
        self._task, self.result = task, None
        self._told_end = self.stopped = False
        self.warm()
        self._write(task.model_dump_json())
        self._silence.setInterval(SILENCE if task.name is None else LONGER_SILENCE)
        self._silence.start()

    def stop(self) -> None:
        """End soon, with the best so far."""
        if self.running and not self.stopped:
            self.stopped = True
            self._write(STOP)
            self._grace.start()

    def close(self) -> None:
        """End at once, without a word."""
        self._task = None
        self._silence.stop()
        self._grace.stop()
        if self._process is not None:
            self._process.blockSignals(True)
            self._process.kill()
            self._process.waitForFinished(1000)
            self._process = None

    def _write(self, line: str) -> None:
        assert self._process is not None
        self._process.write(f"{line}\n".encode())

    def _read(self) -> None:
        while self._process is not None and self._process.canReadLine():
            line = bytes(self._process.readLine().data())
            self._on_message(Message.model_validate_json(line))

    def _on_message(self, message: Message) -> None:
        if not self.running:
            return
        self._silence.start()
        if message.kind == "event" and message.event is not None:
            self._on_event(message.event)
        elif message.kind != "ready":
            self._told_end = True
            if message.kind == "refused":
                self.result = None
                self.refused.emit(message.text)
            elif message.kind == "failed":
                self.result = None
                self.failed.emit(message.text)

    def _on_event(self, event: FinetuneEvent) -> None:
        if event.result is not None:
            self.result = event.result
        self.stepped.emit(event)

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._told_end = True
            if self.running:
                self.refused.emit(
                    f"The fine-tuning can't be started: {sys.executable} can't be run. Install "
                    "napari-unetpp into a Python environment."
                )
            self._on_finished()

    def _on_silence(self) -> None:
        self._told_end = True
        self.result = None
        self.refused.emit(
            "The fine-tuning hung and was ended; your painting and the models are as before."
        )
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _on_finished(self, *_: object) -> None:
        if self._process is not None:
            self._read()
            self._process.deleteLater()
            self._process = None
        self._silence.stop()
        self._grace.stop()
        if not self.running:
            return  # one that was kept warm ended: the next is started when it is needed
        if not (self._told_end or self.stopped):
            self.result = None
            self.refused.emit(
                "The fine-tuning process ended unexpectedly (perhaps memory ran out); your "
                "painting and the models are as before."
            )
        self._task = None
        self.ended.emit(self.result)


def _timer(parent: QObject, milliseconds: int, action: Callable[[], None]) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(action)
    return timer
