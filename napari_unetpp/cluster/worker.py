"""What is done for one piece, in whichever process: read, segment, write, note it down."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.cluster import engine
from napari_unetpp.cluster.journal import Journal
from napari_unetpp.cluster.plan import ENSEMBLE, Plan
from napari_unetpp.cluster.stores import open_levels
from napari_unetpp.errors import UserError
from napari_unetpp.files import ImageFile, open_image
from napari_unetpp.files.zarr_write import add_level, piece_at
from napari_unetpp.inference.heads import mask_of, mean_of
from napari_unetpp.inference.layout import ArrayLike, Layout

if TYPE_CHECKING:
    from zarr import Array

    from napari_unetpp.models.file import Model

_ONE_NETWORK = threading.Lock()
"""A process computes for one piece at a time, with all its cores or its GPU; meanwhile its other
threads write."""
_OPENING = threading.Lock()


@dataclass(frozen=True)
class _Tools:
    image: ImageFile[ArrayLike]
    model: Model
    masks: dict[str, list[Array[Any]]]


_KEPT: dict[str, _Tools] = {}
"""What is open, by the token of the run: just that of the last one."""


@dataclass(frozen=True)
class Outcome:
    """What became of a piece.

    Attributes
    ----------
    level : int
        The resolution, from 0, the finest.
    number : int
        Of the piece.
    problem : str
        Why it can't be done, as a sentence; empty if it is done.
    """

    level: int
    number: int
    problem: str = ""


def do_piece(plan: Plan, level: int, number: int) -> Outcome:
    """Write a piece of all masks of a run, and note it; nothing happens if that is noted already.

    Whatever the user has to mend is told in the outcome; it would be the same on another worker.
    """
    journal = Journal(plan.target)
    if journal.is_done(level, number):
        return Outcome(level, number)
    started = time.time()
    try:
        if level == 0:
            _segment_piece(plan, number)
        else:
            _thin_piece(plan, level, number)
        journal.note_done(level, number, {"seconds": round(time.time() - started, 3)})
    except UserError as error:
        return Outcome(level, number, str(error))
    return Outcome(level, number)


def _segment_piece(plan: Plan, number: int) -> None:
    tools = _tools(plan)
    index, region = plan.place(number)
    with _ONE_NETWORK:
        values = engine.probabilities(
            tools.image,
            tools.model,
            axes=plan.layout.axes,
            options=plan.options,
            index=index,
            region=region,
        )
    key = plan.key(index, region)
    for name in plan.results:
        chosen = _chosen(values, name, tools.model.spec.heads)
        tools.masks[name][0][key] = mask_of(chosen, plan.threshold)


def _thin_piece(plan: Plan, level: int, number: int) -> None:
    for levels in _tools(plan).masks.values():
        finer, coarser = levels[level - 1 : level + 1]
        add_level(finer, coarser, piece_at(coarser.shape, plan.piece, number))


def _chosen(values: NDArray[np.uint8], name: str, numbers: Sequence[int]) -> NDArray[np.uint8]:
    """The probabilities ``(class, *region)`` of a result, from those of the heads `numbers`."""
    if name != ENSEMBLE:
        return np.asarray(values[numbers.index(int(name.removeprefix("L")))])
    reached = np.full(values.shape[2:], len(values), np.uint8)
    return np.asarray(mean_of(values, reached))


def _tools(plan: Plan) -> _Tools:
    """What a process needs for a run, opened once."""
    with _OPENING:
        if plan.token not in _KEPT:
            _KEPT.clear()
            _KEPT[plan.token] = _open(plan)
        return _KEPT[plan.token]


def _open(plan: Plan) -> _Tools:
    image = open_image(plan.source, plan.given_axes)
    if Layout.of(image.data, image.axes, dims=plan.layout.dims) != plan.layout:
        raise UserError(
            f"{plan.source} has shape {image.data.shape} and axes {image.axes}, other than when "
            "the run was begun: use --force to begin anew."
        )
    model = engine.model_of(Journal(plan.target).model())
    return _Tools(image, model, {name: open_levels(plan, name) for name in plan.results})
