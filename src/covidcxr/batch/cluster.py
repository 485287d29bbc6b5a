"""Shards on the machines of a Ray cluster: Ray Data keeps actors busy and repeats what a lost machine was at."""

import logging
import socket
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import ray
from numpy.typing import NDArray

from covidcxr.batch.scoring import Done, Job, Scorer
from covidcxr.batch.storage import BatchError

IN_FLIGHT = 2
"""Shards that an actor has: one it is at, and the next; more would leave actors without any at the end."""
PATIENCE_S = 5.0
"""Ray itself goes on trying for a quarter of an hour."""

Columns = Mapping[str, NDArray[np.int64]]


class ShardActor:
    """A Scorer as Ray Data wants it: batches of shard numbers in, what became of them out."""

    def __init__(self, job: Job) -> None:
        self._scorer = Scorer(job, job.predictor(threads=1))

    def __call__(self, batch: Columns) -> Columns:
        """Score shards: only their numbers and counts travel; pictures and rows go straight from and to the storage."""
        done = [self._scorer(int(shard)) for shard in batch["shard"]]
        return {name: np.array([getattr(one, name) for one in done]) for name in ("shard", "images", "errors")}


def score_on_cluster(job: Job, shards: Sequence[int], *, address: str, workers: int | None) -> Iterator[Done]:
    """Score shards on a Ray cluster; report each as it is done.

    Args:
        job: Its folder and model must be reachable under these names from every machine.
        shards: Numbers in the plan.
        address: As ``ray.init`` takes it, such as ``auto`` or ``10.0.0.1:6379``.
        workers: Actors, with a core each; None for as many as the cluster has cores.

    Raises:
        BatchError: No cluster there.
    """
    _check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise BatchError(f"Expected a Ray cluster that can be reached. Received {address}: {error}.") from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        most = min(workers or cores, len(shards))
        pool = ray.data.ActorPoolStrategy(size=most, max_tasks_in_flight_per_actor=IN_FLIGHT)
        numbers = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        scored = numbers.map_batches(
            ShardActor, fn_constructor_args=(job,), batch_size=1, compute=pool, num_cpus=1, zero_copy_batch=True
        )
        for row in scored.iter_rows():
            yield Done(**row)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ask whether anything answers where an address names a host and a port.

    Raises:
        BatchError: Nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise BatchError(f"Expected a Ray cluster that can be reached. Received {address}: {error}.") from error
