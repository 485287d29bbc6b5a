"""A whole batch: plan, shards, summary. After any interruption the same call resumes it."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from covidcxr._files import lock
from covidcxr._system import cores
from covidcxr.batch.page import page
from covidcxr.batch.plan import ROWS, BatchSettings, Plan, make_plan, parts_done
from covidcxr.batch.pool import score_here
from covidcxr.batch.reference import SUMMARY, find_reference
from covidcxr.batch.scoring import BatchJob, ShardResult
from covidcxr.batch.sources import COLUMN, find
from covidcxr.batch.storage import is_remote, join, remove_partial, write
from covidcxr.batch.summary import count, summarise
from covidcxr.errors import BatchError
from covidcxr.prediction.artifact import ACTIVATION_MAP

PAGE = "summary.html"
LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Options of a batch.

    Attributes:
        sources: Sources of the images; see covidcxr.batch.sources.find.
        out: Folder of the plan, the rows and the summary; the same for every machine of a cluster.
        model: Model file; None for the shipped model.
        maps: Folder of the activation maps; None for none.
        reference: Reference for drift; see covidcxr.batch.reference.find_reference.
        ray: Address of a Ray cluster; None for this machine.
        workers: Number of processes, or of actors on the cluster; None for one per core.
    """

    sources: tuple[str, ...]
    out: str
    model: Path | None = None
    maps: str | None = None
    reference: str | None = None
    ray: str | None = None
    workers: int | None = None


Progress = Callable[[Plan, Sequence[int], Iterator[ShardResult]], Iterator[ShardResult]]
"""Shows the progress over the shards of a plan that were left, and passes their results on."""


def run(options: BatchOptions, progress: Progress) -> dict[str, Any]:
    """Score what is not scored yet, and sum up the whole batch.

    Returns:
        Content of summary.json, which is written together with summary.html.

    Raises:
        BatchError: The model has no maps to draw, the storage fails, or make_plan or find_reference fails.
        LockedError: Another process is using the folder.
        ArtifactError: The model file is not valid.
    """
    job = BatchJob(out=options.out, model=options.model)
    predictor = job.predictor(threads=1)
    model = predictor.model
    if options.maps and ACTIVATION_MAP not in predictor.outputs:
        raise BatchError(f"Expected a model with an activation map to draw. Received {model}, which has none.")
    reference = find_reference(options.reference, model)
    settings = BatchSettings(sources=options.sources, model=model, maps=options.maps)
    try:
        with _locked(options.out):
            plan = make_plan(options.out, settings, find(options.sources))
            about = _score(job, plan, options, progress)
            summary = summarise(count(options.out, plan), plan=plan, reference=reference, run=about)
            write(join(options.out, SUMMARY), json.dumps(summary, indent=1).encode())
            write(join(options.out, PAGE), page(summary, reference).encode())
    except OSError as error:
        raise BatchError(f"The storage failed: {error}. The same command resumes the batch.") from error
    return summary


def make_reference(images: Sequence[Path], model: Path | None, progress: Progress) -> dict[str, Any]:
    """Score the training images of a model by the code that will score the new ones.

    Args:
        images: Training images.
        model: Model file; None for the shipped model.
        progress: As for ``run``.

    Returns:
        A reference for ``find_reference``: distributions only, no image and no name.

    Raises:
        BatchError: An image cannot be scored.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = BatchJob(out=str(Path(folder, "out")), model=model)
        predictor = job.predictor(threads=1)
        table = Path(folder, "training.parquet")
        pq.write_table(pa.table({COLUMN: [str(image.resolve()) for image in images]}), table)
        summary = run(BatchOptions(sources=(str(table),), out=job.out, model=model), progress)
    if summary["errors"]:
        raise BatchError(f"Expected training images that can be scored. Received {summary['errors']}.")
    return {
        "model": predictor.model,
        "data_hash": predictor.artifact.data_hash,
        "sources": [f"the training images of {predictor.artifact.name}"],
        "images": summary["images"],
        "histograms": summary["histograms"],
    }


def _score(job: BatchJob, plan: Plan, options: BatchOptions, progress: Progress) -> dict[str, float]:
    """Score the shards that have no part yet; return the number of images and the rate."""
    left = sorted(set(range(plan.shards)).difference(parts_done(options.out, plan)))
    start = time.perf_counter()
    images = sum(result.images for result in progress(plan, left, _results(job, left, options)))
    seconds = time.perf_counter() - start
    for folder in (options.out, join(options.out, ROWS)):
        remove_partial(folder)
    return {"images": images, "seconds": seconds, "images_per_s": images / seconds if images else 0.0}


def _results(job: BatchJob, shards: Sequence[int], options: BatchOptions) -> Iterator[ShardResult]:
    if not shards:
        return iter(())
    if options.ray is None:
        return score_here(job, shards, workers=options.workers or cores())
    from covidcxr.batch.cluster import score_on_cluster

    return score_on_cluster(job, shards, address=options.ray, workers=options.workers)


@contextmanager
def _locked(out: str) -> Iterator[None]:
    """Keep other commands on this machine out of a folder.

    A store has no locks; two commands there do the work twice, with the same result.

    Raises:
        BatchError: ``out`` is a file, or below one.
        LockedError: Another process is using the folder.
    """
    if is_remote(out):
        yield
        return
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BatchError(f"Expected a folder for the results. Received {out}, which is a file or below one.") from error
    with lock(Path(out, LOCK)):
        yield
