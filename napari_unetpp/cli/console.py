"""How the commands talk: sentences and progress to stderr, so that stdout holds results only."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

messages = Console(stderr=True)
results = Console()


def say(sentence: str) -> None:
    """Write a sentence to stderr as it is, in one line."""
    messages.print(sentence, markup=False, highlight=False, soft_wrap=True)


def cells(*values: str) -> list[Text]:
    """A table's row, as it is: what comes from files may look like rich's markup."""
    return [Text(value) for value in values]


def progress_bar() -> Progress:
    """A bar with what is done in percent and the remaining time; none outside a terminal.

    Give each task the field `note`, which stands at the end of its line.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=messages,
        transient=True,
        disable=not messages.is_terminal,
    )


@contextmanager
def until_interrupted() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether Ctrl-C was pressed; pressed again, it interrupts."""
    interrupted = False

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, before)
