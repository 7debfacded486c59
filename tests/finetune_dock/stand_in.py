"""A stand-in for the child process that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_unetpp.models import HistoryEntry
from napari_unetpp.models.file import read_model, save_model
from napari_unetpp.models.spec import FINE_TUNED
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.training.corrections import Correction
from napari_unetpp.training.messages import (
    HELD_OUT,
    FinetuneEvent,
    FinetuneTask,
    Message,
    Result,
    Verdict,
)

STAND_IN = """
import json, pathlib, shutil, sys, time
here = pathlib.Path(__file__).parent
plan = json.loads((here / "plan.json").read_text())
print('{"kind": "ready"}', flush=True)
for line in sys.stdin:
    if line.strip() == "stop":
        break
    (here / "task.json").write_text(line)
    if plan["candidate"]:
        shutil.copy(plan["candidate"], json.loads(line)["output"])
    for message in plan["messages"]:
        print(message, flush=True)
    if not plan["waits"]:
        break
"""
"""A child that says what it is told to say; "stop" ends it, as the end of its input does."""


class Child:
    """The stand-in for the child process: what it is to say, and what it was asked."""

    def __init__(self, folder: Path, model: Any) -> None:
        self._folder, self._model = folder, model
        self.end("better")

    @property
    def asked(self) -> FinetuneTask:
        """The task that it got last."""
        return FinetuneTask.model_validate_json((self._folder / "task.json").read_text())

    def learnt(self) -> list[Correction]:
        """What it was to learn from, plane by plane."""
        folder = CorrectionFolder(self.asked.corrections[0].parent)
        by_path = {
            folder.folder / correction.file_name: correction for correction in folder.load()[0]
        }
        found = [by_path[path] for path in self.asked.corrections]
        return sorted(found, key=lambda c: (c.source.image, c.source.index))

    def end(self, outcome: Any, *, waits: bool = False) -> None:
        """Train in no time, with this verdict; `waits` for Stop afterwards."""
        parent = self._model
        entry = HistoryEntry(action=FINE_TUNED, parent=parent.digest, parent_name="tiny")
        spec = parent.spec.model_copy(update={"history": (*parent.spec.history, entry)})
        candidate = self._folder / "candidate.safetensors"
        weights = {
            name: -value if "heads" in name else value
            for name, value in parent.network.state_dict().items()
        }
        save_model(_with(parent, weights), spec, candidate)
        before = {HELD_OUT: {"L1": 0.4, "L2": 0.5, "L3": 0.45}}
        after = {HELD_OUT: {"L1": 0.6, "L2": 0.8, "L3": 0.7}}
        verdict = Verdict(outcome=outcome, sentence=f"It is {outcome}.", head="L2")
        result = Result(verdict=verdict, before=before, after=after, seconds=2.0, steps=2)
        told = {"seconds": 1.0, "device": "CPU"}
        events = [
            FinetuneEvent(step=0, fraction=0.0, scores=before, **told),
            FinetuneEvent(step=1, fraction=0.5, loss=0.7, **told),
            FinetuneEvent(step=2, fraction=0.9, loss=0.5, scores=after, result=result, **told),
        ]
        messages = [Message(kind="event", event=event) for event in events]
        self._plan([*messages, *([] if waits else [Message(kind="done")])], candidate, waits)

    def come_from(self, name: str) -> None:
        """Be made from this version."""
        path = self._folder / "candidate.safetensors"
        made = read_model(path)
        entry = made.spec.history[-1].model_copy(update={"parent_name": name})
        spec = made.spec.model_copy(update={"history": (*made.spec.history[:-1], entry)})
        save_model(made.network, spec, path)

    def say(self, kind: Any, text: str) -> None:
        """End with a sentence or a traceback, and no version."""
        self._plan([Message(kind=kind, text=text)], None, False)

    def _plan(self, messages: list[Message], candidate: Path | None, waits: bool) -> None:
        import json

        plan = {
            "messages": [message.model_dump_json() for message in messages],
            "candidate": None if candidate is None else str(candidate),
            "waits": waits,
        }
        (self._folder / "plan.json").write_text(json.dumps(plan))


def _with(model: Any, weights: dict[str, Any]) -> Any:
    from napari_unetpp.models.file import build_network

    network = build_network(model.spec)
    network.load_state_dict(weights)
    return network.eval()
