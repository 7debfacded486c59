"""What work in a thread needs, so that its errors reach the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class WorkFailed(Exception):
    """A RuntimeError of a thread, under a name that superqt passes on."""


@contextmanager
def failing_loudly() -> Iterator[None]:
    """Turn a RuntimeError into `WorkFailed`.

    superqt takes a RuntimeError in a worker for that of a deleted Qt object: it warns, and tells
    neither of the error nor of the end. Torch raises it for everything that goes wrong.
    """
    try:
        yield
    except RuntimeError as error:
        raise WorkFailed(str(error)) from error
