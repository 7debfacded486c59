"""Do all pieces of a run, in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from napari_unetpp.cluster.journal import Journal
from napari_unetpp.cluster.plan import Plan
from napari_unetpp.cluster.stores import open_levels
from napari_unetpp.cluster.worker import Outcome, do_piece
from napari_unetpp.errors import UserError
from napari_unetpp.files.zarr_write import count_pieces

Doer = Callable[[Plan, int, Sequence[int]], Iterator[Outcome | None]]
"""Does pieces of one resolution, in any order, and gives what became of each; None now and then, so
that who waits can stop."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes
    ----------
    done, count : int
        Pieces that are finished, those of former runs included, and all; of all resolutions.
    outcome : Outcome, optional
        Of the piece that is finished just now; None if nothing has changed.
    """

    done: int
    count: int
    outcome: Outcome | None = None


def here(plan: Plan, level: int, numbers: Sequence[int]) -> Iterator[Outcome | None]:
    """A `Doer` that does one piece after the other in this process."""
    for number in numbers:
        yield do_piece(plan, level, number)


def run(plan: Plan, do: Doer = here) -> Iterator[Progress]:
    """Do what is left of a run, the finest resolution first; yields after each piece, at least.

    Not asking on is how to stop: what is finished stays, and is not done again. Pieces that can't
    be done don't stop the others.

    Parameters
    ----------
    plan : Plan
        From `stores.prepare`.
    do : Doer
        How.

    Raises
    ------
    UserError
        In the end, if pieces could not be done; the coarser resolutions are not made then.
    """
    journal = Journal(plan.target)
    shapes = [level.shape for level in open_levels(plan, plan.results[0])]
    counts = [count_pieces(shape, plan.piece) for shape in shapes]
    finished = [journal.done(level) for level in range(len(counts))]
    done = sum(map(len, finished))
    yield Progress(done, sum(counts))
    for level, count in enumerate(counts):
        left = [number for number in range(count) if number not in finished[level]]
        problems: list[Outcome] = []
        for outcome in do(plan, level, left):
            if outcome is not None and outcome.problem:
                problems.append(outcome)
            elif outcome is not None:
                done += 1
            yield Progress(done, sum(counts), outcome)
        if problems:
            raise UserError(_told(problems, count))
    journal.remove()


def _told(problems: Sequence[Outcome], count: int) -> str:
    first = problems[0].problem
    if count == 1:
        return first
    return (
        f"{len(problems)} of {count} pieces could not be done, the first is {problems[0].number}: "
        f"{first} The others are kept, and the same command tries these again."
    )
