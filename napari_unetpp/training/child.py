"""The process that fine-tunes: `python -m napari_unetpp.training.child`.

A crash here, or memory that runs out, can't take the viewer and what was painted with it, and all
memory is back when the process ends. It reads lines of JSON from standard input (a `FinetuneTask`,
later perhaps the word "stop") and writes a `Message` a line to standard output. When its input
ends, so does it: whoever started it is gone.
"""

from __future__ import annotations

import io
import os
import queue
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from napari_unetpp.errors import UserError
from napari_unetpp.training.messages import FinetuneTask, Message

if TYPE_CHECKING:
    from napari_unetpp.models.file import Model

STOP = "stop"
NICENESS = 5
"""The window comes first."""


def main() -> None:
    """Wait for a task, do it, tell of it."""
    out = _claim_output()

    def tell(message: Message) -> None:
        out.write(message.model_dump_json(exclude_none=True) + "\n")
        out.flush()

    if hasattr(os, "nice"):
        os.nice(NICENESS)

    import napari_unetpp.training.finetune  # noqa: F401  # torch: what makes a cold start slow

    # Not before: on Windows OpenBLAS, of numpy and scipy, looks at the standard input when it is
    # loaded, and would wait until the thread has read from it.
    tasks: queue.Queue[str] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(tasks, stop), daemon=True).start()
    tell(Message(kind="ready"))
    try:
        _work(FinetuneTask.model_validate_json(tasks.get()), tell, stop.is_set)
    except UserError as error:
        tell(Message(kind="refused", text=str(error)))
    except Exception:  # noqa: BLE001  # told to the window, which shows it as the bug that it is
        tell(Message(kind="failed", text=traceback.format_exc()))
    else:
        tell(Message(kind="done"))


def _work(task: FinetuneTask, tell: Callable[[Message], None], stop: Callable[[], bool]) -> None:
    from napari_unetpp.inference.devices import torch_device
    from napari_unetpp.training.correction_folder import CorrectionFolder, read_correction
    from napari_unetpp.training.corrections import newest
    from napari_unetpp.training.finetune import finetune
    from napari_unetpp.training.options import FinetuneOptions

    model = _model(task)
    corrections = newest([read_correction(path) for path in task.corrections])
    folder = CorrectionFolder(task.earlier_in or task.corrections[0].parent)
    earlier = folder.replayed(model.spec.corrections, corrections)
    events = finetune(
        model,
        corrections,
        earlier=earlier,
        output=task.output,
        options=FinetuneOptions(
            minutes=task.minutes,
            depth=task.depth,
            start=task.start,
            architecture=task.architecture,
            widths=task.widths,
            heads=task.heads,
            classes=task.classes,
            name=task.name,
        ),
        device=torch_device(task.device),
        stop=stop,
    )
    for event in events:
        tell(Message(kind="event", event=event))


def _model(task: FinetuneTask) -> Model:
    from napari_unetpp.models.file import read_model

    model = read_model(task.model)
    if task.normalisation is None:
        return model
    return replace(model, spec=model.spec.model_copy(update={"normalisation": task.normalisation}))


def _listen(tasks: queue.Queue[str], stop: threading.Event) -> None:
    # As bytes, which Windows would take for its own code page; and without a buffer, whose lock a
    # thread that waits for input would hold when the process ends.
    for raw in io.FileIO(0, closefd=False):
        line = raw.decode("utf-8")
        if line.strip() == STOP:
            stop.set()
        else:
            tasks.put(line)
    os._exit(0)  # at once, also in the middle of a step: nobody would hear of it


def _claim_output() -> TextIO:
    """Standard output for messages alone; what libraries print goes to the log of errors."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    try:
        os.dup2(2, 1)
    except OSError:  # started from an icon, there is no stream for errors
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return out


if __name__ == "__main__":
    main()
