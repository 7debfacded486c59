"""What was in a layer when it began to be watched, to tell what was painted since."""

from __future__ import annotations

import zlib
from threading import Thread
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.inference.layout import Index, Layout
from napari_unetpp.inference.room import bytes_of
from napari_unetpp.widgets.label_planes import LabelPlanes

COPIED = 64e6
"""Bytes of a layer that are copied at once."""


class Baseline:
    """A layer's labels as they were.

    A layer in memory, if it isn't large, is copied. Of others each plane has a checksum, taken in
    a thread, that of the plane on screen at once; until a plane has one, it counts as it is.

    Parameters
    ----------
    planes : LabelPlanes
        Of the layer.
    shown : Index, optional
        Of the plane on screen.
    """

    def __init__(self, planes: LabelPlanes, shown: Index | None = None) -> None:
        self._layout, self._sums = planes.layout, dict[Index, int]()
        self._copy: NDArray[Any] | None = None
        whole = planes.whole
        if isinstance(whole, np.ndarray) and bytes_of(whole.shape, whole.dtype) <= COPIED:
            self._copy = whole.copy()
            return
        if shown is not None:
            self.take(planes, shown)
        Thread(target=_take_all, args=(ref(self), planes), daemon=True).start()

    @property
    def is_complete(self) -> bool:
        """Whether it is known of each plane how it was."""
        return self._copy is not None or len(self._sums) == len(list(self._layout.indices()))

    def is_of(self, layout: Layout) -> bool:
        """Whether it can tell of the planes of a layout, which may have other axes."""
        return self._copy is not None or self._layout == layout

    def differs(self, planes: LabelPlanes, index: Index) -> bool:
        """Whether a plane was another."""
        if self._copy is not None:
            before = planes.layout.result_part(self._copy, index)
            return not np.array_equal(planes.at(index), before)
        return index in self._sums and self._sums[index] != _sum_of(planes.at(index))

    def take(self, planes: LabelPlanes, index: Index) -> None:
        """Let a plane be known as it is."""
        if index not in self._sums:
            self._sums[index] = _sum_of(planes.at(index))


def _take_all(baseline: ref[Baseline], planes: LabelPlanes) -> None:
    """Take each plane, unless nobody asks any more, or the layer is no mask any more."""
    for index in planes.layout.indices():
        there = baseline()
        if there is None or not planes.fit:
            return
        there.take(planes, index)
        del there  # or it would never be gone


def _sum_of(labels: NDArray[Any]) -> int:
    return zlib.crc32(labels.tobytes())
