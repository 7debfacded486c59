"""Which part of the corrections is held out: by place, so that no spot is learnt and scored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

STRIPS = (5, 4, 3)
"""An image is cut into so many strips, of which one is held out: the most that are wide enough."""
GAP = 16
"""Pixels beside the held-out strip that are neither learnt from nor scored."""

BoolArray = NDArray[np.bool_]
Strip = tuple[int, int, int]
"""Axis (0 for y, 1 for x), first and last row or column, the last not included."""
Strips = dict[str, Strip]
"""By the shape of the planes, like "512×512"."""


@dataclass(frozen=True)
class Split:
    """Two parts of the known pixels ``(y, x)`` of a plane, `GAP` pixels apart."""

    learnt: BoolArray
    held_out: BoolArray


def split_places(
    known: Sequence[BoolArray],
    foreground: Sequence[BoolArray],
    before: Strips | None = None,
    *,
    new: Sequence[bool] | None = None,
) -> tuple[list[Split], Strips]:
    """Hold out one strip of all planes of a shape.

    They may be sections of one stack, in one file or in many, which show nearly the same at the
    same place: were another strip held out of each, one would teach what is scored in the next.

    Parameters
    ----------
    known, foreground : sequence of bool array
        Of each plane, ``(y, x)``: what can be learnt, and what of it isn't background.
    before : dict, optional
        The strips of the fine-tunings before: they are held out again, as the model has learnt
        the rest, if something new is known both there and elsewhere.
    new : sequence of bool, optional
        Of each plane, whether it wasn't learnt before; by default all are new. It is these from
        which a part has to be learnt and a part has to be scored.

    Returns
    -------
    list of Split, dict of str to strip
        In the order of the planes; and the strips, by shape. A strip is that whose share of
        foreground is nearest to that of all: it stands for the planes better than one taken by
        chance. Planes too small or known in too few places to be cut are learnt from whole.
    """
    new = [True] * len(known) if new is None else new
    members: dict[str, list[int]] = defaultdict(list)
    for number, of_plane in enumerate(known):
        members["×".join(map(str, of_plane.shape))].append(number)
    splits: dict[int, Split] = {}
    strips: Strips = {}
    for name, numbers in members.items():
        shape = known[numbers[0]].shape
        decisive = [n for n in numbers if new[n]] or numbers
        strip = (before or {}).get(name)
        if strip is None or not _cuts(strip, [known[n] for n in decisive]):
            strip = _chosen([known[n] for n in decisive], [foreground[n] for n in decisive])
        inside = near = np.zeros(shape, bool)
        if strip is not None:
            strips[name] = strip
            inside, near = _inside(strip, shape), _inside(strip, shape, GAP)
        for n in numbers:
            splits[n] = Split(known[n] & ~near, known[n] & inside)
    return [splits[n] for n in range(len(known))], strips


def _chosen(known: list[BoolArray], foreground: list[BoolArray]) -> Strip | None:
    """The strip to hold out; None if there is too little to be cut."""
    shape = known[0].shape
    places = np.argwhere(np.logical_or.reduce(known))
    if len(places) == 0:
        return None
    axis = int(np.argmax(np.ptp(places, axis=0)))
    for count in STRIPS:
        # Along that axis, strips with the same number of known pixels.
        edges = np.quantile(places[:, axis], np.linspace(0, 1, count + 1)).astype(int).tolist()
        edges[-1] += 1
        if np.diff(edges).min() >= 2 * GAP:
            break
    else:
        return None
    strips = [(axis, start, stop) for start, stop in pairwise(edges)]
    overall = _share(known, foreground, np.ones(shape, bool))
    distances = [abs(_share(known, foreground, _inside(s, shape)) - overall) for s in strips]
    return strips[int(np.argmin(distances))]


def _cuts(strip: Strip, known: list[BoolArray]) -> bool:
    """Whether something is known both in a strip and well outside of it."""
    shape = known[0].shape
    inside, beyond = _inside(strip, shape), ~_inside(strip, shape, GAP)
    return any(k[inside].any() for k in known) and any(k[beyond].any() for k in known)


def _inside(strip: Strip, shape: tuple[int, ...], margin: int = 0) -> BoolArray:
    axis, start, stop = strip
    position = np.expand_dims(np.arange(shape[axis]), 1 - axis)
    return np.broadcast_to((start - margin <= position) & (position < stop + margin), shape)


def _share(known: list[BoolArray], foreground: list[BoolArray], where: BoolArray) -> float:
    total = sum(np.count_nonzero(k & where) for k in known)
    found = sum(np.count_nonzero(f & k & where) for k, f in zip(known, foreground, strict=True))
    return found / total if total else -1.0
