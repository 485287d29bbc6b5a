"""Shards on the cores of one machine: one process per core, each with its own model."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice

from covidcxr.batch.scoring import BatchJob, ShardResult, ShardScorer
from covidcxr.errors import BatchError

TRIES = 3
"""Pools in a row that may lose a process before they finish a shard."""


def score_here(job: BatchJob, shards: Sequence[int], *, workers: int) -> Iterator[ShardResult]:
    """Score shards in ``workers`` processes, or in this one if one is enough; report each shard when it is done.

    If a process is killed, a new pool repeats the shards that were in progress.

    Raises:
        BatchError: The system starts no processes, or TRIES pools in a row lost one before they finished a shard.
    """
    if min(workers, len(shards)) <= 1:
        scorer = ShardScorer(job, job.predictor(threads=workers))
        yield from map(scorer, shards)
        return
    left, deaths = list(shards), 0
    while left:
        done: set[int] = set()
        try:
            for result in _in_processes(job, left, min(workers, len(left))):
                done.add(result.shard)
                yield result
        except BrokenProcessPool as error:
            deaths = 1 if done else deaths + 1
            if deaths == TRIES:
                raise BatchError(
                    f"Worker processes were killed {deaths} times in a row before shard {left[0]} or any after it was "
                    "done. If memory is short, use fewer --workers. The same command resumes the batch."
                ) from error
        left = [shard for shard in left if shard not in done]


def _in_processes(job: BatchJob, shards: Sequence[int], workers: int) -> Iterator[ShardResult]:
    """Keep all processes busy: each has its current shard and the next one."""
    numbers, waiting = iter(shards), set[Future[ShardResult]]()
    with _starting():
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        while True:
            with _starting():
                waiting |= {pool.submit(_score, job, number) for number in islice(numbers, 2 * workers - len(waiting))}
            if not waiting:
                break
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    except BaseException:
        for process in multiprocessing.active_children():  # their current shards are repeated, so do not wait
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _starting() -> Iterator[None]:
    """Turn a system's refusal to start processes into a message; one worker needs no process of its own."""
    try:
        yield
    except BrokenProcessPool:
        raise
    except (OSError, ImportError, RuntimeError) as error:  # no semaphores, no memory, too many processes
        raise BatchError(
            f"Cannot start worker processes: {error}. They need a writable /dev/shm and a free place in the limit of "
            "processes. Or score in one process, with --workers 1."
        ) from error


def _score(job: BatchJob, shard: int) -> ShardResult:
    return _scorer(job)(shard)


@lru_cache(maxsize=1)
def _scorer(job: BatchJob) -> ShardScorer:
    """Prepare this process, once, for its first shard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets Ctrl-C too and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return ShardScorer(job, job.predictor(threads=1))


def _end_with_parent() -> None:
    """End this process when its parent is gone: a parent killed with -9 cannot end it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
