"""Shards on the cores of one machine: a process a core, each with a model of its own."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from itertools import islice

from covidcxr.batch.scoring import Done, Job, Scorer
from covidcxr.batch.storage import BatchError

TRIES = 3
"""Pools in a row that may lose a process before a shard is done."""


def score_here(job: Job, shards: Sequence[int], *, workers: int) -> Iterator[Done]:
    """Score shards in ``workers`` processes, or in this one if that is enough; report each as it is done.

    A process that is killed costs the shards that the pool was at, which a new pool scores.

    Raises:
        BatchError: Processes end again and again without a shard done.
    """
    if min(workers, len(shards)) <= 1:
        scorer = Scorer(job, job.predictor(threads=workers))
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
                    f"Expected processes that live. Received {deaths} that were killed with no shard done, the first "
                    f"one {left[0]}; with too little memory take fewer --workers. The same command goes on."
                ) from error
        left = [shard for shard in left if shard not in done]


def _in_processes(job: Job, shards: Sequence[int], workers: int) -> Iterator[Done]:
    """Keep all processes busy without handing out more than they need next."""
    numbers, waiting = iter(shards), set[Future[Done]]()
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        while True:
            waiting |= {pool.submit(_score, job, number) for number in islice(numbers, 2 * workers - len(waiting))}
            if not waiting:
                break
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    except BaseException:
        for process in multiprocessing.active_children():  # what they are at is done again: no need to wait for it
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _score(job: Job, shard: int) -> Done:
    return _scorer(job)(shard)


@lru_cache(maxsize=1)
def _scorer(job: Job) -> Scorer:
    """Prepare this process: once, with its first shard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return Scorer(job, job.predictor(threads=1))


def _end_with_parent() -> None:
    """End this process when its parent is gone: kill -9 gives the parent no time to say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
