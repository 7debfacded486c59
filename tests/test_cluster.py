"""Runs by pieces: all of the image, each piece once, also after something died."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr
from cluster_fakes import COMPUTED, DEPTH, STARTED, VICTIM, WRITTEN, Fake, expected
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import LocalStore

from napari_unetpp.cluster import engine
from napari_unetpp.cluster.folder import Folder
from napari_unetpp.cluster.journal import Journal
from napari_unetpp.cluster.plan import Plan
from napari_unetpp.cluster.run import run
from napari_unetpp.cluster.stores import prepare
from napari_unetpp.errors import UserError
from napari_unetpp.files import PixelSize, Source, open_image, read_image, write_masks
from napari_unetpp.files.zarr_metadata import Version
from napari_unetpp.inference.layout import Layout
from napari_unetpp.inference.options import SegmentOptions

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 70, 90)).astype(np.uint8)
PIECES = 2 * 2 * 2  # of 48 pixels
SIZE = PixelSize({"Z": 2.0, "Y": 0.5, "X": 0.25}, "µm")


def make_plan(source: Source, target: Source, **changes: Any) -> Plan:
    plan = Plan(
        source=source,
        target=target,
        layout=Layout("ZYX", IMAGE.shape),
        given_axes=None,
        results=("L1", "L2"),
        depth=DEPTH,
        threshold=0.5,
        options=SegmentOptions(),
        digest="0" * 64,
        side=48,
        chunk=16,
    )
    return replace(plan, **changes)


def ready(plan: Plan, *, force: bool = False) -> Plan | None:
    about = {"model": "fake"}
    return prepare(
        plan, b"model", pixel_size=SIZE, origin={"Z": 3.0}, provenance=about, force=force
    )


def begin(plan: Plan, *, force: bool = False) -> Plan:
    begun = ready(plan, force=force)
    assert begun is not None
    return begun


def check_masks(target: Path) -> None:
    for head in (1, 2):
        masks = read_image(target / f"L{head}")
        np.testing.assert_array_equal(masks.data, expected(IMAGE, head))
        assert (masks.axes, masks.pixel_size, masks.origin) == ("ZYX", SIZE, {"Z": 3.0})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The engine's place is taken, and given back after the test."""
    for name in ("probabilities", "model_of", "use_cores"):
        monkeypatch.setattr(engine, name, getattr(engine, name))
    monkeypatch.setattr(LocalStore, "set", LocalStore.set)
    monkeypatch.setattr(os, "fsync", os.fsync)
    (tmp_path / "log").mkdir()
    fake = Fake(tmp_path / "log")
    fake.install()
    return fake


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    write_masks(tmp_path / "in.zarr", IMAGE, axes="ZYX")
    return make_plan(tmp_path / "in.zarr", tmp_path / "out.zarr")


# --- what the pieces are


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
    axes=st.permutations("TYX"),
    side=st.integers(1, 30),
    chunk=st.integers(1, 30),
)
def test_pieces_cover_every_pixel_once(
    shape: tuple[int, ...], axes: list[str], side: int, chunk: int
) -> None:
    layout = Layout("".join(axes), shape)
    plan = make_plan(Path("in"), Path("out"), layout=layout, side=side, chunk=chunk)
    seen = np.zeros(plan.shape, int)

    for number in range(plan.count):
        key = plan.key(*plan.place(number))
        seen[key] += 1
        starts = [part.start for part in key if isinstance(part, slice)]
        assert all(start % chunk == 0 for start in starts)  # no chunk is written by two

    assert (seen == 1).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_place_and_key_belong_together(dims: Any) -> None:
    layout = Layout("XCZYT", (90, 2, 5, 70, 3), dims)
    plan = make_plan(Path("in"), Path("out"), layout=layout)
    image = np.arange(np.prod(layout.shape)).reshape(layout.shape)
    masks = np.empty(plan.shape, image.dtype)

    for number in range(plan.count):
        index, region = plan.place(number)
        masks[plan.key(index, region)] = layout.take(image, index, region)[1]

    assert plan.axes == "TZYX"
    np.testing.assert_array_equal(masks, image[:, 1].transpose(3, 1, 2, 0))


# --- in this process


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_run_writes_every_chunk_once(plan: Plan, fake: Fake, version: Version) -> None:
    target = Path(plan.target)

    steps = list(run(begin(replace(plan, version=version))))

    assert [steps[0].done, steps[-1].done, steps[-1].count] == [0, PIECES, PIECES]
    check_masks(target)
    assert len(fake.noted(COMPUTED)) == PIECES
    written = fake.noted(WRITTEN)
    assert len(written) == len(set(written)) > 0
    assert not Path(Journal(target).place).exists()
    made: Any = zarr.open_group(str(target / "L2"), mode="r").attrs["napari_unetpp"]
    assert made == {"model": "fake", "result": "L2"}


def test_run_that_was_stopped_goes_on_where_it_was(plan: Plan, fake: Fake) -> None:
    for progress in run(begin(plan)):
        if progress.done == 3:
            break

    steps = list(run(begin(plan)))

    assert steps[0].done == 3
    check_masks(Path(plan.target))
    assert len(fake.noted(COMPUTED)) == PIECES
    assert len(fake.noted(WRITTEN)) == len(set(fake.noted(WRITTEN)))


def test_ensemble_is_the_mean_of_the_heads(plan: Plan, fake: Fake) -> None:
    list(run(begin(replace(plan, results=("ensemble",), threshold=0.7))))

    masks = read_image(Path(plan.target) / "ensemble").data
    np.testing.assert_array_equal(masks, expected(IMAGE, 2))  # where both are sure


def test_overviews_are_made_when_all_of_it_is_there(
    plan: Plan, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_unetpp.files.zarr_write.OVERVIEW", 30)

    steps = list(run(begin(plan)))

    levels = open_image(Path(plan.target) / "L1").levels
    assert [level.shape for level in levels] == [(2, 70, 90), (2, 35, 45), (2, 18, 23)]
    np.testing.assert_array_equal(np.asarray(levels[2]), expected(IMAGE, 1)[:, ::4, ::4])
    assert steps[-1].count == PIECES + 2 + 2


def test_complete_masks_are_not_made_again(plan: Plan, fake: Fake) -> None:
    list(run(begin(plan)))

    assert ready(plan) is None
    with pytest.raises(UserError, match="exists and is kept"):
        ready(replace(plan, threshold=0.4))
    list(run(begin(plan, force=True)))
    assert len(fake.noted(COMPUTED)) == 2 * PIECES


def test_run_goes_on_with_the_same_settings_only(plan: Plan, fake: Fake) -> None:
    next(iter(run(begin(plan))))

    with pytest.raises(UserError, match=r"other settings \(threshold was 0\.5 and is 0\.4\)"):
        ready(replace(plan, threshold=0.4))
    ready(replace(plan, options=SegmentOptions(device="cpu", tile=256)))  # where, not what
    list(run(begin(replace(plan, threshold=0.4), force=True)))
    check_masks(Path(plan.target))


def test_what_is_in_the_place_already_is_kept(plan: Plan, fake: Fake) -> None:
    write_masks(Path(plan.target), IMAGE, axes="ZYX")

    with pytest.raises(UserError, match="exists and is kept"):
        ready(plan)
    np.testing.assert_array_equal(read_image(Path(plan.target)).data, IMAGE)


def test_crash_while_the_masks_are_made_is_cleared_up(plan: Plan, fake: Fake) -> None:
    begun = begin(plan)
    (Path(Journal(plan.target).place) / "created").unlink()
    shutil.rmtree(Path(plan.target) / "L2")

    again = begin(plan)

    assert again.token == begun.token
    list(run(again))
    check_masks(Path(plan.target))


def test_damaged_notes_are_told(plan: Plan, fake: Fake) -> None:
    begin(plan)
    (Path(Journal(plan.target).place) / "run.json").write_text("{}")

    with pytest.raises(UserError, match=r"notes in .* are damaged.*--force"):
        ready(plan)


def test_pieces_that_fail_do_not_stop_the_others_and_are_tried_again(
    plan: Plan, fake: Fake
) -> None:
    fake.broken = (1, 0, 48)

    with pytest.raises(UserError, match=r"1 of 8 pieces .* the first as: There is a scratch"):
        list(run(begin(plan)))
    fake.broken = None
    list(run(begin(plan)))

    check_masks(Path(plan.target))
    assert len(fake.noted(COMPUTED)) == PIECES


def test_pieces_that_fail_may_be_left_empty(
    plan: Plan, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_unetpp.files.zarr_write.OVERVIEW", 50)
    fake.broken = (1, 48, 48)

    with pytest.raises(UserError, match="1 of 8 pieces are empty in the masks"):
        list(run(begin(plan), skip_damaged=True))

    full, overview = open_image(Path(plan.target) / "L1").levels
    wanted = expected(IMAGE, 1)
    wanted[1, 48:, 48:] = 0
    np.testing.assert_array_equal(np.asarray(full), wanted)
    np.testing.assert_array_equal(np.asarray(overview), wanted[:, ::2, ::2])
    assert ready(plan) is None


def test_run_in_which_nothing_works_ends_soon(
    plan: Plan, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_unetpp.cluster.run.HOPELESS", 3)
    begun = begin(plan)
    shutil.rmtree(Path(plan.source))

    steps = run(begun, skip_damaged=True)
    with pytest.raises(UserError, match=r"3 of 8 pieces.*There is no file"):
        list(steps)


def test_image_that_has_changed_in_between_is_refused(plan: Plan, fake: Fake) -> None:
    begun = begin(plan)
    write_masks(Path(plan.source), IMAGE[:, :60], axes="ZYX", force=True)

    with pytest.raises(UserError, match="other than when the run was begun"):
        list(run(begun))


def test_masks_can_go_to_a_url(plan: Plan, fake: Fake) -> None:
    target = "memory://lab/out.zarr"
    there = replace(plan, target=target)
    for progress in run(begin(there)):
        if progress.done == 3:
            break

    list(run(begin(there)))

    np.testing.assert_array_equal(read_image(f"{target}/L2").data, expected(IMAGE, 2))
    assert ready(there) is None
    assert not Folder(Journal(target).place).exists()
    assert len(fake.noted(COMPUTED)) == PIECES


# --- on a cluster


class Taken:
    """Has the workers of a cluster use the fake engine, those to come as well."""

    name = "fake engine"

    def __init__(self, fake: Fake) -> None:
        self.fake = fake

    def setup(self, worker: Any) -> None:
        self.fake.install()

    def teardown(self, worker: Any) -> None:
        pass


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


def take_over(cluster: Any, fake: Fake) -> None:
    from distributed import Client, WorkerPlugin

    class Plugin(Taken, WorkerPlugin):  # type: ignore[misc]
        pass

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        client.register_plugin(Plugin(fake), name="fake engine")


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def kill_the_victim(log: Path) -> None:
    wait_for((log / VICTIM).exists)
    os.kill(int((log / VICTIM).read_text()), signal.SIGKILL)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_run_survives_the_death_of_a_worker(plan: Plan, fake: Fake, cluster: Any) -> None:
    from napari_unetpp.cluster.dask_run import on_cluster

    fake.fatal = (1, 0, 0)
    take_over(cluster, fake)
    killer = threading.Thread(target=kill_the_victim, args=(fake.log,))
    killer.start()

    with on_cluster(cluster.scheduler_address) as do:
        steps = list(run(begin(plan), do))
    killer.join()

    assert steps[-1].done == steps[-1].count == PIECES
    check_masks(Path(plan.target))
    assert len(fake.noted(COMPUTED)) == PIECES
    written = fake.noted(WRITTEN)
    assert len(written) == len(set(written)) > 0


CLIENT = """
import pickle, sys
from napari_unetpp.cluster.dask_run import on_cluster
from napari_unetpp.cluster.run import run
with on_cluster(sys.argv[1]) as do:
    for _ in run(pickle.load(sys.stdin.buffer), do):
        pass
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_run_goes_on_after_the_death_of_its_client(plan: Plan, fake: Fake, cluster: Any) -> None:
    import pickle

    from napari_unetpp.cluster.dask_run import on_cluster

    fake.seconds = 0.5
    take_over(cluster, fake)
    begun = begin(plan)
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, cluster.scheduler_address], stdin=subprocess.PIPE
    )
    assert client.stdin is not None
    client.stdin.write(pickle.dumps(begun))
    client.stdin.close()
    wait_for(lambda: len(Journal(plan.target).done(0)) >= 2)
    client.kill()
    client.wait()
    wait_for(lambda: not any(begun.token in str(key) for key in cluster.scheduler.tasks))
    wait_for(lambda: len(Journal(plan.target).done(0)) == len(fake.noted(STARTED)))
    done = Journal(plan.target).done(0)
    assert 2 <= len(done) < PIECES

    with on_cluster(cluster.scheduler_address) as do:
        steps = list(run(begin(plan), do))

    assert steps[0].done == len(done)
    check_masks(Path(plan.target))
    assert len(fake.noted(COMPUTED)) == PIECES
    assert len(fake.noted(WRITTEN)) == len(set(fake.noted(WRITTEN)))


def test_problems_of_pieces_are_told_on_a_cluster_too(plan: Plan, fake: Fake, cluster: Any) -> None:
    from napari_unetpp.cluster.dask_run import on_cluster

    fake.broken = (0, 0, 0)
    take_over(cluster, fake)

    with (
        pytest.raises(UserError, match="1 of 8 pieces could not be done"),
        on_cluster(cluster.scheduler_address) as do,
    ):
        list(run(begin(plan), do))

    assert len(Journal(plan.target).done(0)) == PIECES - 1


def test_death_of_worker_after_worker_is_told() -> None:
    scheduler = pytest.importorskip("distributed.scheduler")
    from napari_unetpp.cluster import dask_run

    class Lost:
        def result(self) -> None:
            raise scheduler.KilledWorker("piece", SimpleNamespace(address="tcp://10.0.0.1:1"), 3)

    with pytest.raises(UserError, match=r"4 workers died over one piece.*10\.0\.0\.1.*goes on"):
        dask_run._outcome(Lost())  # type: ignore[arg-type]


def test_scheduler_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    from napari_unetpp.cluster import dask_run

    monkeypatch.setattr(dask_run, "TIMEOUT", "0.5s")
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with (
            pytest.raises(UserError, match=f"No scheduler of dask answers at {address}"),
            dask_run.on_cluster(address),
        ):
            pass


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_unetpp.cluster.dask_run import on_cluster

    monkeypatch.setitem(sys.modules, "distributed", None)

    with pytest.raises(UserError, match=r"napari-unetpp\[cluster\]"), on_cluster("tcp://x:1"):
        pass


def test_settings_are_plain_json(plan: Plan) -> None:
    assert json.loads(json.dumps(plan.settings)) == plan.settings
