"""Which part of the corrections is held out: by place, so that no spot is learnt and scored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

STRIPS = 5
"""An image is cut into so many strips, of which one is held out."""
GAP = 16
"""Pixels beside the held-out strip that are neither learnt from nor scored."""

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """Two parts of the known pixels ``(y, x)`` of a plane, `GAP` pixels apart."""

    learnt: BoolArray
    held_out: BoolArray


def split_places(
    known: Sequence[BoolArray], foreground: Sequence[BoolArray], groups: Sequence[Hashable]
) -> list[Split]:
    """Hold out one strip of each image.

    Parameters
    ----------
    known, foreground : sequence of bool array
        Of each plane, ``(y, x)``: what can be learnt, and what of it isn't background.
    groups : sequence
        Planes with the same group are of one image, and show nearly the same at the same place:
        they get the same strip.

    Returns
    -------
    list of Split
        In the order of the planes. The strip is that whose share of foreground is nearest to that
        of all: it stands for the image better than one taken by chance. An image too small or
        known in too few places to be cut is learnt from whole.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for number, group in enumerate(groups):
        members[group, known[number].shape].append(number)
    splits: dict[int, Split] = {}
    for numbers in members.values():
        strip, gap = _strip([known[n] for n in numbers], [foreground[n] for n in numbers])
        for n in numbers:
            splits[n] = Split(known[n] & ~gap, known[n] & strip)
    return [splits[n] for n in range(len(known))]


def _strip(known: list[BoolArray], foreground: list[BoolArray]) -> tuple[BoolArray, BoolArray]:
    """Where the held-out strip is, and the same with the gap."""
    shape = known[0].shape
    nothing = np.zeros(shape, bool)
    anywhere = np.logical_or.reduce(known)
    places = np.argwhere(anywhere)
    if len(places) == 0:
        return nothing, nothing
    axis = int(np.argmax(np.ptp(places, axis=0)))
    # Along that axis, strips with the same number of known pixels.
    edges = np.quantile(places[:, axis], np.linspace(0, 1, STRIPS + 1)).astype(int)
    edges[-1] += 1
    if np.diff(edges).min() < 2 * GAP:
        return nothing, nothing
    position = np.expand_dims(np.arange(shape[axis]), 1 - axis)
    strips = [np.broadcast_to((a <= position) & (position < b), shape) for a, b in pairwise(edges)]
    overall = _share(known, foreground, np.ones(shape, bool))
    distance = [abs(_share(known, foreground, strip) - overall) for strip in strips]
    best = int(np.argmin(distance))
    near = (edges[best] - GAP <= position) & (position < edges[best + 1] + GAP)
    return strips[best], np.broadcast_to(near, shape)


def _share(known: list[BoolArray], foreground: list[BoolArray], where: BoolArray) -> float:
    total = sum(np.count_nonzero(k & where) for k in known)
    found = sum(np.count_nonzero(f & k & where) for k, f in zip(known, foreground, strict=True))
    return found / total if total else -1.0
