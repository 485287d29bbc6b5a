"""Shards on the machines of a Ray cluster. Ray Data keeps the actors busy and repeats the work of lost machines."""

import logging
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from queue import Empty, Queue

import numpy as np
import ray
from numpy.typing import NDArray

from covidcxr.batch.scoring import BatchJob, ShardResult, ShardScorer
from covidcxr.errors import BatchError

IN_FLIGHT = 2
"""Shards per actor: the current one and the next. With more, some actors would be idle at the end."""
CONNECT_TIMEOUT_S = 5.0
"""Seconds to wait for the head of the cluster; Ray itself tries for a quarter of an hour."""

CHECK_S = 5.0
"""Seconds without a result after which the head is checked."""

Columns = Mapping[str, NDArray[np.int64]]


class ShardActor:
    """A ShardScorer with the interface that Ray Data needs: batches of shard numbers in, results out."""

    def __init__(self, job: BatchJob) -> None:
        self._scorer = ShardScorer(job, job.predictor(threads=1))

    def __call__(self, batch: Columns) -> Columns:
        """Score shards. Only numbers and counts travel through Ray; images and rows go from and to the storage."""
        results = [self._scorer(int(shard)) for shard in batch["shard"]]
        return {name: np.array([getattr(one, name) for one in results]) for name in ("shard", "images", "errors")}


def score_on_cluster(
    job: BatchJob, shards: Sequence[int], *, address: str, workers: int | None
) -> Iterator[ShardResult]:
    """Score shards on a Ray cluster and report each one when it is done.

    Args:
        job: The batch; every machine must reach its folder and its model under the same names.
        shards: Shard numbers in the plan.
        address: Address as ``ray.init`` takes it, such as ``auto`` or ``10.0.0.1:6379``.
        workers: Number of actors, each with one core; None for all cores of the cluster.

    Raises:
        BatchError: The cluster cannot be reached.
    """
    _check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise _unreachable(address, error) from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        size = min(workers or cores, len(shards))
        pool = ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=IN_FLIGHT)
        numbers = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        scored = numbers.map_batches(
            ShardActor, fn_constructor_args=(job,), batch_size=1, compute=pool, num_cpus=1, zero_copy_batch=True
        )
        yield from _fetched(scored, ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()


def _fetched(scored: ray.data.Dataset, head: str) -> Iterator[ShardResult]:
    """Yield the results while the head of the cluster answers; Ray ends the process a minute after it is gone.

    Raises:
        BatchError: The head is gone.
    """
    found: Queue[ShardResult | BaseException | None] = Queue()

    def fetch() -> None:
        try:
            for row in scored.iter_rows():
                found.put(ShardResult(**row))
            found.put(None)
        except BaseException as error:
            found.put(error)

    threading.Thread(target=fetch, daemon=True).start()
    while True:
        try:
            result = found.get(timeout=CHECK_S)
        except Empty:
            _check_reachable(head)
            continue
        if result is None:
            return
        if isinstance(result, BaseException):
            _check_reachable(head)
            raise result
        yield result


def _check_reachable(address: str) -> None:
    """Check that something listens at an address of the form host:port.

    Raises:
        BatchError: Nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> BatchError:
    return BatchError(
        f"Expected a running Ray cluster. Received {address}, which cannot be reached: {error}. Parts that "
        "are done stay; when the cluster runs, the same command resumes the batch."
    )
