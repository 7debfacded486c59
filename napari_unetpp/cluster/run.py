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

HOPELESS = 20
"""If so many pieces are tried and none can be done, it isn't the pieces: they would all fail."""

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


def run(plan: Plan, do: Doer = here, *, skip_damaged: bool = False) -> Iterator[Progress]:
    """Do what is left of a run, the finest resolution first; yields after each piece, at least.

    Not asking on is how to stop: what is finished stays, and is not done again. Pieces that can't
    be done don't stop the others.

    Parameters
    ----------
    plan : Plan
        From `stores.prepare`.
    do : Doer
        How.
    skip_damaged : bool
        Finish also if some pieces can't be done; they stay empty.

    Raises
    ------
    UserError
        In the end, if pieces could not be done. If they are not skipped, the coarser resolutions
        are not made, and the run can go on.
    """
    journal = Journal(plan.target)
    shapes = [level.shape for level in open_levels(plan, plan.results[0])]
    counts = [count_pieces(shape, plan.piece) for shape in shapes]
    finished = [journal.done(level) for level in range(len(counts))]
    done, skipped = sum(map(len, finished)), list[Outcome]()
    yield Progress(done, sum(counts))
    for level, count in enumerate(counts):
        left = [number for number in range(count) if number not in finished[level]]
        problems: list[Outcome] = []
        for outcome in do(plan, level, left):
            if outcome is not None and outcome.problem:
                problems.append(outcome)
            elif outcome is not None:
                finished[level].add(outcome.number)
                done += 1
            yield Progress(done, sum(counts), outcome)
            if len(problems) >= HOPELESS and not finished[level]:
                break
        if problems and (level > 0 or not skip_damaged or not finished[level]):
            raise UserError(_told(problems, count, skipped=False))
        for outcome in problems:
            journal.note_done(level, outcome.number, {"problem": outcome.problem})
        done += len(problems)
        skipped += problems
    journal.remove()
    if skipped:
        raise UserError(_told(skipped, counts[0], skipped=True))


def _told(problems: Sequence[Outcome], count: int, *, skipped: bool) -> str:
    first = problems[0].problem
    if count == 1:
        return first
    if skipped:
        return f"{len(problems)} of {count} pieces are empty in the masks, the first as: {first}"
    return (
        f"{len(problems)} of {count} pieces could not be done, the first as: {first} The others "
        "are kept; the same command tries again, and with --skip-damaged it leaves them empty."
    )
