"""Do pieces on a cluster of dask.distributed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from napari_unetpp.cluster import engine
from napari_unetpp.cluster.plan import Plan
from napari_unetpp.cluster.run import Doer
from napari_unetpp.cluster.worker import Outcome, do_piece
from napari_unetpp.errors import UserError
from napari_unetpp.files.image import reason_of

if TYPE_CHECKING:
    from distributed import Client, Future

RETRIES = 3
"""How often a piece is tried again after an error that may pass, such as that of a network drive.
How many workers may die over a piece is the scheduler's own setting, `allowed-failures`."""
WAITING = 2
"""Pieces that wait for each thread of the cluster, so that none is idle; millions at once would be
too much for the scheduler."""
TIMEOUT = "20s"
"""How long the scheduler may take to answer."""
PATIENCE = 5.0
"""Seconds after which it is asked again how many threads there are."""
PAUSE = 0.1
"""Seconds between two looks at what is finished."""


@contextmanager
def on_cluster(scheduler: str, *, retries: int = RETRIES) -> Iterator[Doer]:
    """Gives a `Doer` for the cluster whose scheduler has this address.

    Raises
    ------
    UserError
        If dask.distributed isn't installed or no scheduler answers; in the block, if workers die
        over a piece again and again, or the scheduler goes away.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            "A cluster needs dask.distributed: pip install 'napari-unetpp[cluster]'."
        ) from error
    try:
        client = Client(scheduler, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:  # a time-out is an OSError, too
        raise UserError(
            f"No scheduler of dask answers at {scheduler} ({reason_of(error)}): check the address."
        ) from error
    with client:
        yield lambda plan, level, numbers: _do(client, plan, level, numbers, retries)


def _do(
    client: Client, plan: Plan, level: int, numbers: Sequence[int], retries: int
) -> Iterator[Outcome | None]:
    """Have pieces done, some at a time; None now and then while nothing is finished."""
    from distributed import as_completed

    left, running, completed = iter(numbers), set[Any](), as_completed(loop=client.loop)
    room, looked = 0, -PATIENCE
    try:
        while True:
            if time.monotonic() - looked > PATIENCE:  # workers come and go
                looked = time.monotonic()
                room = WAITING * max(1, sum(client.nthreads().values()))
            for number in islice(left, max(0, room - len(running))):
                future = client.submit(
                    do_on_worker,
                    plan,
                    level,
                    number,
                    # Whoever goes on with a run waits for a piece that is still being done.
                    key=f"napari-unetpp-{plan.token}-{level}-{number}",
                    retries=retries,
                    pure=False,
                )
                running.add(future)
                completed.add(future)
            if not running:
                return
            finished = completed.next_batch(block=False)
            for future in finished:
                running.discard(future)
                yield _outcome(future)
            if not finished:
                yield None
                time.sleep(PAUSE)
    finally:
        client.cancel(list(running))


def _outcome(future: Future[Any]) -> Outcome:
    from distributed.scheduler import KilledWorker

    try:
        outcome: Outcome = future.result()
    except KilledWorker as error:
        raise UserError(
            f"{error.allowed_failures + 1} workers died over one piece, the last at "
            f"{error.last_worker.address}: see its log (often it lacks memory; give workers more, "
            "or less to do with --piece). What is finished is kept, and the same command goes on."
        ) from error
    except (CancelledError, OSError) as error:
        raise UserError(
            f"The cluster gave up a piece ({reason_of(error)}): what is finished is kept, and the "
            "same command goes on."
        ) from error
    return outcome


def do_on_worker(plan: Plan, level: int, number: int) -> Outcome:
    """Do a piece with all cores that the worker may use.

    Dask starts workers with one thread for each library, as it counts on many small tasks; here
    just one at a time computes.
    """
    from distributed import get_worker

    engine.use_cores(get_worker().state.nthreads)
    return do_piece(plan, level, number)
