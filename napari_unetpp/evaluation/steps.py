"""Work in steps, as generators that tell how far they are and return their result.

Not asking on is how to cancel.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[float, None, T]
"""Yields how far the work is, 0 to 1."""


def result_of(steps: Steps[T]) -> T:
    """Go to the end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def scaled(steps: Steps[T], start: float, stop: float) -> Steps[T]:
    """Steps as a part of larger work, from `start` to `stop` of it."""
    while True:
        try:
            fraction = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        yield start + (stop - start) * fraction
