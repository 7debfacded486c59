"""Which part of an image is looked at where all of it would take too long."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TypeVar

from napari_unetpp.inference.layout import Index, Layout, Region

MOST = 1 << 20
"""Pixels or voxels that are looked at, all planes together."""

Item = TypeVar("Item")


def window(shape: Sequence[int], focus: Sequence[float] | None = None, most: int = MOST) -> Region:
    """At most so many pixels around a place, as nearly square as the plane or volume allows.

    Parameters
    ----------
    shape : sequence of int
        Of the plane or volume.
    focus : sequence of float, optional
        What is to be in the middle, as far as there is room on all sides; by default its middle.
    most : int
        Pixels.
    """
    focus = [n / 2 for n in shape] if focus is None else focus
    sides, left = dict.fromkeys(range(len(shape)), 1), most
    for count, axis in enumerate(sorted(sides, key=lambda axis: shape[axis])):
        rest = len(shape) - count
        sides[axis] = max(1, min(shape[axis], int(left ** (1 / rest) + 1e-9)))
        left //= sides[axis]
    starts = [
        min(max(round(at - sides[axis] / 2), 0), shape[axis] - sides[axis])
        for axis, at in enumerate(focus)
    ]
    return tuple(slice(start, start + sides[axis]) for axis, start in enumerate(starts))


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most so many of them, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * n + 1) * len(items) // (2 * count)] for n in range(count)]


def spread_pieces(
    indices: Sequence[Index], region: Region, *, here: Index | None = None, most: int = MOST
) -> list[Index]:
    """Of these planes or volumes as many, evenly spread, as may be looked at; at least one.

    If it is just one, it is `here`, where that is among them.
    """
    count = max(1, most // prod(part.stop - part.start for part in region))
    if count == 1 and here is not None and here in indices:
        return [here]
    return spread(indices, count)


def in_words(layout: Layout, indices: Sequence[Index], region: Region) -> str:
    """What is looked at, like "3 planes of 256 × 320 pixels"."""
    what, unit = {2: ("plane", "pixels"), 3: ("volume", "voxels")}[layout.dims]
    size = " × ".join(str(part.stop - part.start) for part in region)
    count = f"1 {what}" if len(indices) == 1 else f"{len(indices)} {what}s"
    return f"{count} of {size} {unit}"
