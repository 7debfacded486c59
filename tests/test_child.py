"""The process that fine-tunes, without a window: lines of JSON in, lines of JSON out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_unetpp.models.file import read_model
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.training.corrections import Source, correct
from napari_unetpp.training.messages import FinetuneTask, Message

SHAPE = (120, 176)
PATIENCE = 90
"""Seconds to wait for an end, on a machine that is busy."""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "napari_unetpp.training.child"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        yield process
        process.kill()


@pytest.fixture
def ask(tmp_path: Path, tiny_store: Any) -> Callable[[Any], FinetuneTask]:
    """Save a mask as a correction, and ask to learn from it for an hour."""

    def make(mask: Any) -> FinetuneTask:
        image = 800 + 2000 * np.random.default_rng(0).random(SHAPE) + 500 * mask
        source = Source(image="cells", shape=SHAPE)
        correction = correct(image[None], mask.astype(np.uint8), kind="classes", source=source)
        path = CorrectionFolder(tmp_path / "corrections").save(correction)
        return FinetuneTask(
            model=tiny_store.path("tiny"),
            corrections=(path,),
            output=tmp_path / "new.safetensors",
            device="cpu",
            minutes=60,
        )

    return make


def blocks() -> Any:
    mask = np.zeros(SHAPE, bool)
    mask[::40] = True
    mask[10:50, :100] = True
    mask[70:100, 60:] = True
    return mask


def say(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{line}\n")
    child.stdin.flush()


def heard(child: subprocess.Popen[str]) -> Message:
    assert child.stdout is not None
    return Message.model_validate_json(child.stdout.readline())


@pytest.mark.slow
def test_it_trains_until_it_is_stopped_and_leaves_its_best(child, ask):
    task = ask(blocks())
    say(child, task.model_dump_json())
    assert heard(child).kind == "ready"
    messages = [heard(child)]
    while messages[-1].event is not None and messages[-1].event.step < 3:
        messages.append(heard(child))
    say(child, "stop")
    while messages[-1].kind == "event":
        messages.append(heard(child))
    *events, end = messages
    assert end.kind == "done", end.text
    assert child.wait(PATIENCE) == 0
    told = [message.event for message in events if message.event is not None]
    assert [event.step for event in told][:4] == [0, 1, 2, 3]
    assert told[0].scores is not None
    assert told[-1].result is not None
    assert told[-1].result.steps == told[-1].step
    assert read_model(task.output).spec.parent_name == "tiny"


@pytest.mark.slow
def test_what_can_not_be_learnt_is_refused_in_a_sentence(child, ask):
    task = ask(np.zeros(SHAPE, bool))
    say(child, task.model_dump_json())
    assert heard(child).kind == "ready"
    refused = heard(child)
    assert refused.kind == "refused"
    assert "all background" in refused.text
    assert child.wait(PATIENCE) == 0
    assert not task.output.exists()


@pytest.mark.slow
def test_a_bug_is_told_with_its_traceback(child):
    say(child, '{"model": 1}')
    assert heard(child).kind == "ready"
    failed = heard(child)
    assert failed.kind == "failed"
    assert "Traceback" in failed.text
    assert child.wait(PATIENCE) == 0


@pytest.mark.slow
def test_a_model_that_is_gone_is_told_in_a_sentence(child, ask, tiny_store):
    task = ask(blocks())
    tiny_store.remove("tiny")
    say(child, task.model_dump_json())
    assert heard(child).kind == "ready"
    refused = heard(child)
    assert refused.kind == "refused"
    assert "tiny" in refused.text
    assert "Traceback" not in refused.text


@pytest.mark.parametrize("when", ["waits", pytest.param("trains", marks=pytest.mark.slow)])
def test_it_ends_with_its_input(child, ask, when):
    if when == "trains":
        say(child, ask(blocks()).model_dump_json())
        assert heard(child).kind == "ready"
        assert heard(child).kind == "event"
    child.stdin.close()
    assert child.wait(PATIENCE) == 0
