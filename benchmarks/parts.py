"""Clocks around the parts of `segment`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")

NETWORK, ANSWERS = "network", "sigmoid, to numpy"
PARTS = {
    "ready.prepared": "fold and lay out the weights",
    "reading.find_limits": "percentiles and Otsu",
    "reading.normalise": "normalise",
    "engine.blend": "blend",
}
"""Functions of `inference` by the module that calls them, and what they are in words."""


@contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Measure the parts of `segment` while this is open, in seconds by their names."""
    from napari_unetpp.inference import engine, reading, ready
    from napari_unetpp.inference.tiles import Tile
    from napari_unetpp.network import UNetPlusPlus

    spent: dict[str, float] = defaultdict(float)

    def clocked(function: Callable[..., T], part: str) -> Callable[..., T]:
        def call(*args: Any, **kwargs: Any) -> T:
            started = time.perf_counter()
            result = function(*args, **kwargs)
            spent[part] += time.perf_counter() - started
            return result

        return call

    def clocked_steps(function: Callable[..., Iterator[T]], part: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Iterator[T]:
            step = clocked(function(*args, **kwargs).__next__, part)
            while True:
                try:
                    result = step()
                except StopIteration:
                    return
                yield result

        return call

    with ExitStack() as patches:
        share = clocked(Tile.share, "weights of the tiles")
        patches.enter_context(mock.patch.object(Tile, "share", share))
        for place, part in PARTS.items():
            where, name = place.split(".")
            module = {"engine": engine, "reading": reading, "ready": ready}[where]
            call = clocked(getattr(module, name), part)
            patches.enter_context(mock.patch.object(module, name, call))
        for owner, name, part in (
            (UNetPlusPlus, "_heads", NETWORK),
            (engine, "probabilities", ANSWERS),
        ):
            steps = clocked_steps(getattr(owner, name), part)
            patches.enter_context(mock.patch.object(owner, name, steps))
        yield spent
