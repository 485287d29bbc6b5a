"""A whole batch: plan, shards, summary. Stopped at any moment, the same call goes on where it was."""

import fcntl
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidcxr._system import cores
from covidcxr.batch.page import page
from covidcxr.batch.plan import Plan, Settings, make_plan, parts_done
from covidcxr.batch.pool import score_here
from covidcxr.batch.reference import SUMMARY, find_reference
from covidcxr.batch.scoring import Done, Job
from covidcxr.batch.sources import find
from covidcxr.batch.storage import BatchError, is_remote, join, remove_partial, write
from covidcxr.batch.summary import count, summarise
from covidcxr.prediction.artifact import ACTIVATION_MAP

PAGE = "summary.html"
LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a batch is asked to do.

    Attributes:
        sources: What the user named; see covidcxr.batch.sources.find.
        out: Folder of the plan, the parts and the summary; on a cluster the same for every machine.
        model: Model file; None for the one that comes with the package.
        maps: Folder of the activation maps; None for none.
        reference: What to compare the distributions with; see covidcxr.batch.reference.find_reference.
        ray: Address of a Ray cluster; None for this machine.
        workers: Processes, or actors of the cluster; None for one a core.
    """

    sources: tuple[str, ...]
    out: str
    model: Path | None = None
    maps: str | None = None
    reference: str | None = None
    ray: str | None = None
    workers: int | None = None


Watch = Callable[[Plan, Sequence[int], Iterator[Done]], Iterator[Done]]
"""Shows how the shards of a plan that were left get done, and passes them on."""


def run(options: Options, watch: Watch) -> dict[str, Any]:
    """Score whatever is not scored yet, and sum up all of it.

    Returns:
        The content of summary.json, which is written with summary.html.

    Raises:
        BatchError: The model gives no maps to draw, or the storage fails; or see covidcxr.batch.plan.make_plan,
            covidcxr.batch.reference.find_reference and _alone.
        ArtifactError: The model file is not one.
    """
    job = Job(out=options.out, model=options.model)
    predictor = job.predictor(threads=1)
    model = predictor.model
    if options.maps and ACTIVATION_MAP not in predictor.outputs:
        raise BatchError(f"Expected a model with an activation map to draw. Received {model}, which gives none.")
    reference = find_reference(options.reference, model)
    settings = Settings(sources=options.sources, model=model, maps=options.maps)
    try:
        with _alone(options.out):
            plan = make_plan(options.out, settings, find(options.sources))
            about = _score(job, plan, options, watch)
            summary = summarise(count(options.out, plan), plan=plan, reference=reference, run=about)
            write(join(options.out, SUMMARY), json.dumps(summary, indent=1).encode())
            write(join(options.out, PAGE), page(summary, reference).encode())
    except OSError as error:
        raise BatchError(
            f"Expected storage that answers and has room. Received: {error}. The same command goes on."
        ) from error
    return summary


def _score(job: Job, plan: Plan, options: Options, watch: Watch) -> dict[str, float]:
    """Score the shards that have no part yet; return how many images that were, and how fast."""
    left = sorted(set(range(plan.shards)).difference(parts_done(options.out, plan)))
    start = time.perf_counter()
    images = sum(done.images for done in watch(plan, left, _scored(job, left, options)))
    seconds = time.perf_counter() - start
    remove_partial(options.out)
    return {"images": images, "seconds": seconds, "images_per_s": images / seconds if images else 0.0}


def _scored(job: Job, shards: Sequence[int], options: Options) -> Iterator[Done]:
    if not shards:
        return iter(())
    if options.ray is None:
        return score_here(job, shards, workers=options.workers or cores())
    from covidcxr.batch.cluster import score_on_cluster

    return score_on_cluster(job, shards, address=options.ray, workers=options.workers)


@contextmanager
def _alone(out: str) -> Iterator[None]:
    """Keep a second command out of a folder on this machine; the system lets go of the lock however this one ends.

    A store has no locks: two commands there would do the work twice, with the same result.

    Raises:
        BatchError: Another command is at work in it, or it can be no folder.
    """
    if is_remote(out):
        yield
        return
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BatchError(f"Expected a folder for the results. Received {out}, which is a file, or in one.") from error
    with Path(out, LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BatchError(f"Expected to be alone in {out}. Received another command at work in it.") from error
        yield
