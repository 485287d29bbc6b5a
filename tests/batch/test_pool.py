import multiprocessing
import os
import signal

import pytest

from batch.conftest import many, rows
from covidcxr.batch import pool
from covidcxr.batch.plan import make_plan
from covidcxr.batch.pool import score_here
from covidcxr.batch.sources import find
from covidcxr.errors import BatchError

IMAGES = 400


@pytest.fixture
def planned(pictures, tmp_path, job, settings):
    """A plan of IMAGES images, as job, numbers of shards, and paths in order."""
    table = many(pictures, tmp_path, IMAGES)
    plan = make_plan(job.out, settings, find([str(table)]))
    return job, range(plan.shards), table.read_text().split()[1:]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_image_once(planned, workers):
    job, shards, paths = planned
    done = list(score_here(job, shards, workers=workers))
    assert sorted(one.shard for one in done) == list(shards)
    assert sum(one.images for one in done) == IMAGES
    assert sum(one.errors for one in done) == IMAGES // 3
    assert [row["path"] for row in rows(job.out)] == paths
    assert multiprocessing.active_children() == []


def test_a_killed_worker_costs_nothing_but_time(planned):
    job, shards, paths = planned
    killed = []
    done = []
    for one in score_here(job, shards, workers=2):
        done.append(one.shard)
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)
    assert killed
    assert sorted(done) == list(shards)
    assert [row["path"] for row in rows(job.out)] == paths


def test_workers_that_die_again_and_again_are_an_error(planned, monkeypatch):
    job, shards, _ = planned

    def broken(*_):
        raise pool.BrokenProcessPool
        yield

    monkeypatch.setattr(pool, "_in_processes", broken)
    with pytest.raises(BatchError, match=r"killed 3 times in a row before shard 0"):
        list(score_here(job, shards, workers=2))


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), ImportError("no sem_open"), None])
def test_a_system_where_processes_cannot_start(planned, monkeypatch, error):
    """For example a container whose /dev/shm is read-only, or that has too many processes."""
    job, shards, paths = planned

    def refuse(*_, **__):
        raise error or BlockingIOError(11, "Resource temporarily unavailable")

    if error:
        monkeypatch.setattr("_multiprocessing.SemLock", refuse)
    else:
        monkeypatch.setattr("multiprocessing.popen_spawn_posix.Popen", refuse)
    with pytest.raises(BatchError, match=r"Cannot start worker processes: .* --workers 1"):
        list(score_here(job, shards, workers=2))
    list(score_here(job, shards, workers=1))
    assert [row["path"] for row in rows(job.out)] == paths


def test_stopping_ends_the_workers(planned):
    job, shards, _ = planned
    running = score_here(job, shards, workers=2)
    next(running)
    assert multiprocessing.active_children()
    running.close()
    assert multiprocessing.active_children() == []
