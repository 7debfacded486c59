"""Work off many small pieces of work between the turns of the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import product

from qtpy.QtCore import QObject, QTimer

from napari_unetpp.inference.layout import Index, Region

BLOCK, DEEP_BLOCK = 512, 64
"""Side of a piece of a plane, and of a volume: a few milliseconds each, so that the window never
waits."""
BUDGET = 0.012
"""Seconds of work in one turn of the event loop."""
HURRIED = 0.05
"""The same, where the user waits for it."""

Place = tuple[str, tuple[tuple[int, int], ...]]


class FillQueue(QObject):
    """Pieces of planes that have to be filled; those of the plane on screen come first.

    Parameters
    ----------
    fill : callable
        Fills one piece: ``fill(key, index, region)``.
    here : callable
        Which plane is on screen.
    after : callable
        Called once a turn, with whether nothing is left to fill; gives whether it has to be
        called again.
    parent : QObject, optional
        As in Qt.
    """

    def __init__(
        self,
        fill: Callable[[str, Index, Region], None],
        here: Callable[[], Index],
        after: Callable[[bool], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._fill, self._here, self._after = fill, here, after
        self._planes: dict[Index, dict[Place, Region]] = {}
        self._timer = QTimer(self)
        self._timer.setInterval(15)
        self._timer.timeout.connect(lambda: self._work())

    @property
    def idle(self) -> bool:
        """Whether everything is filled and drawn."""
        return not self._timer.isActive()

    def add(self, key: str, index: Index, region: Region) -> None:
        """Have a region of a plane filled; what is waiting already is filled once."""
        blocks = self._planes.setdefault(index, {})
        for block in _blocks(region):
            place: Place = (key, tuple((part.start, part.stop) for part in block))
            blocks[place] = block
        self._timer.start()

    def wake(self) -> None:
        """Have `after` called."""
        self._timer.start()

    def hurry(self) -> None:
        """Do a longer turn of the work now, as the user waits for it."""
        self._work(HURRIED)

    def drop(self, key: str) -> None:
        """Forget what is waiting for `key`."""
        for blocks in self._planes.values():
            for place in [place for place in blocks if place[0] == key]:
                del blocks[place]

    def stop(self) -> None:
        """Forget everything."""
        self._timer.stop()
        self._planes.clear()

    def _work(self, budget: float = BUDGET) -> None:
        started = time.perf_counter()
        here = self._here()
        while self._planes and time.perf_counter() - started < budget:
            index = here if here in self._planes else next(iter(self._planes))
            blocks = self._planes[index]
            if blocks:
                place, region = blocks.popitem()
                self._fill(place[0], index, region)
            else:
                del self._planes[index]
        if not self._after(not self._planes) and not self._planes:
            self._timer.stop()


def _blocks(region: Region) -> Iterator[Region]:
    side = BLOCK if len(region) == 2 else DEEP_BLOCK
    starts = (range(part.start, part.stop, side) for part in region)
    for place in product(*starts):
        yield tuple(
            slice(start, min(start + side, part.stop))
            for start, part in zip(place, region, strict=True)
        )
