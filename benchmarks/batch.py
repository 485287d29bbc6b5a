"""Cost per image and memory of ``covidcxr batch``, from a thousand images to a hundred thousand.

The lists repeat a few synthetic radiographs, so that they need no disk space: a third each PNG, JPEG and 12-bit DICOM.
Images of FULL x FULL pixels give the cost of one; many small ones show whether it grows. All are read from memory (the
page cache); docs/scaling.md computes what a disk or a store adds. Runs of START images measure the cost of starting,
which is subtracted. Each run is sampled in tenths of its images. Processes and threads are then compared, in turn.
Writes docs/results/batch.json after each run, and the figures in docs/scaling.md. CPU time is meaningful even if others
use the cores; seconds are not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
from run import machine, summary
from tqdm import tqdm

from covidcxr._system import cores
from covidcxr.batch.plan import PLAN, ROWS, BatchSettings, Plan, make_plan, parts_done
from covidcxr.batch.pool import score_here
from covidcxr.batch.scoring import BatchJob, ShardResult, ShardScorer
from covidcxr.batch.sources import find
from covidcxr.batch.summary import count
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.predictor import Predictor

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "batch.json"
FULL, SMALL = 1024, 128
"""Side of an image in pixels."""
DISTINCT = 48
ROUNDS, COMPARED = 3, 896
"""Rounds of processes against threads, and images in each: eight shards of each of the three smallest sizes."""
SAMPLING_S = 0.5
START, STARTS = 32, 3
"""Images (one shard for each of two workers) and runs that measure the cost of starting."""


def radiographs(folder: Path, side: int) -> list[str]:
    """Draw DISTINCT images of this size and return their paths."""
    folder.mkdir()
    paths = []
    for number in tqdm(range(DISTINCT), desc="drawing", disable=None):
        grey = radiograph(np.random.default_rng(number), size=(side, side))
        path = folder / f"{number:02}.{('png', 'jpg', 'dcm')[number % 3]}"
        if path.suffix == ".dcm":
            dicom(grey.astype(np.uint16) * 16).save_as(path, enforce_file_format=True)
        else:
            Image.fromarray(grey).save(path, quality=92)
        paths.append(str(path))
    return paths


def dicom(stored: np.ndarray) -> Dataset:
    """Return an uncompressed 12-bit computed radiograph from uint16 values of shape (height, width)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = stored.tobytes()
    return ds


def listed(folder: Path, paths: list[str], images: int) -> Path:
    """Write a list of this many images."""
    table = folder / f"{Path(paths[0]).parent.name}-{images}.parquet"
    pq.write_table(pa.table({"path": [paths[number % len(paths)] for number in range(images)]}), table)
    return table


@dataclass(frozen=True, kw_only=True)
class Sample:
    """State of all processes of a run at one moment.

    Attributes:
        images: Number of rows in finished parts.
        cpu_s: CPU time so far in seconds, including processes that have ended.
        memory_mb: Memory in 10^6 bytes; shared pages count once.
    """

    images: int
    cpu_s: float
    memory_mb: float


def run_command(table: Path, workers: int) -> tuple[float, float, list[Sample]]:
    """Run the command over a list; return its duration and CPU time in seconds, and the samples taken."""
    out = table.with_suffix("")
    command = [sys.executable, "-m", "covidcxr", "batch", str(table), "--out", str(out), "--workers", str(workers)]
    before, start, seen = os.times(), time.perf_counter(), []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if (sample := take_sample(process.pid, out)) is not None:
            seen.append(sample)
        time.sleep(SAMPLING_S)
    if process.returncode:
        sys.exit(f"Expected {' '.join(command)} to succeed. Received exit status {process.returncode}.")
    after, seconds = os.times(), time.perf_counter() - start
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu_s, seen


def take_sample(pid: int, out: Path) -> Sample | None:
    """Sample a process and its descendants; None if one has just ended or there is no plan yet."""
    try:
        plan = Plan(str(out))
        family = psutil.Process(pid)
        processes = [family, *family.children(recursive=True)]
        return Sample(
            images=sum(plan.rows[shard] for shard in parts_done(str(out), plan)),
            cpu_s=sum(sum(process.cpu_times()[:4]) for process in processes),
            memory_mb=sum(process.memory_full_info().pss for process in processes) / 1e6,
        )
    except (psutil.Error, OSError):
        return None


def measured(folder: Path, side: int, images: int, workers: int, start_s: float) -> dict[str, Any]:
    """Run the command over this many images; return cost and memory.

    Args:
        folder: Folder that holds one folder of images for each size.
        side: Side of an image in pixels.
        images: Number of images.
        workers: Number of processes.
        start_s: CPU time of a run before its first image, in seconds.
    """
    table = listed(folder, sorted(str(path) for path in (folder / str(side)).iterdir()), images)
    out = table.with_suffix("")
    seconds, cpu_s, seen = run_command(table, workers)
    parts = sum(path.stat().st_size for path in (out / ROWS).glob("*.parquet"))
    said = json.loads((out / "summary.json").read_text())
    return {
        "side": side,
        "images": images,
        "seconds": seconds,
        "images_per_s": images / seconds,
        "cpu_ms_per_image": 1000 * (cpu_s - start_s) / (images - START),
        **in_tenths(seen, images),
        "memory_largest_mb": max(sample.memory_mb for sample in seen),
        "ms_per_image": said["ms_per_image"],
        **around(table, out, images),
        "row_bytes": parts / images,
        "plan_bytes": (out / PLAN).stat().st_size / images,
    }


def in_tenths(seen: list[Sample], images: int) -> dict[str, Any]:
    """Return CPU time per image and memory in the tenths of a run, without the first, in which the processes start.

    Both are medians with the smallest and the largest. ``memory_grown_mb`` is the last tenth minus the second.
    """
    groups = [[s for s in seen if tenth <= 10 * s.images / images < tenth + 1] for tenth in range(1, 10)]
    ends = [group[0] for group in groups if group] + [seen[-1]]
    costs = [1000 * (b.cpu_s - a.cpu_s) / (b.images - a.images) for a, b in pairwise(ends) if b.images > a.images]
    memory = [float(np.median([sample.memory_mb for sample in group])) for group in groups if group]
    return {
        "cpu_ms_by_tenth": summary(costs),
        "memory_mb_by_tenth": summary(memory),
        "memory_grown_mb": memory[-1] - memory[0],
    }


def around(table: Path, out: Path, images: int) -> dict[str, float]:
    """Return the CPU time of the two serial steps, plan and summary, in microseconds per image."""
    plan = Plan(str(out))
    start = time.process_time()
    make_plan(f"{out}-again", plan.settings, find([str(table)]))
    planned = time.process_time()
    count(str(out), plan)
    return {
        "plan_us_per_image": 1e6 * (planned - start) / images,
        "summary_us_per_image": 1e6 * (time.process_time() - planned) / images,
    }


def compared(folder: Path, paths: list[str], workers: int) -> dict[str, dict[str, float]]:
    """Return images per second of processes and of threads after their start; they take turns in going first."""
    kinds = {"processes": score_here, "threads": with_threads}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    table = listed(folder, paths, COMPARED)
    for number in tqdm(range(ROUNDS), desc="processes against threads", disable=None):
        for kind, score in list(kinds.items())[:: -1 if number % 2 else 1]:
            job = BatchJob(out=str(folder / f"{kind}-{number}"), model=None)
            model = job.predictor(threads=1).model
            plan = make_plan(job.out, BatchSettings(sources=(), model=model, maps=None), find([str(table)]))
            rates[kind].append(rate(score(job, list(range(plan.shards)), workers=workers), workers))
    return {kind: summary(found) for kind, found in rates.items()}


def with_threads(job: BatchJob, shards: list[int], *, workers: int) -> Iterator[ShardResult]:
    """Score shards in threads that share one model."""
    predictor, own = job.predictor(threads=1), local()

    def score(shard: int) -> ShardResult:
        if not hasattr(own, "scorer"):
            own.scorer = ShardScorer(job, predictor)  # one each, because pyarrow files are not thread-safe
        result: ShardResult = own.scorer(shard)
        return result

    with ThreadPoolExecutor(workers) as pool:
        yield from (future.result() for future in as_completed([pool.submit(score, shard) for shard in shards]))


def rate(done: Iterator[ShardResult], workers: int) -> float:
    """Return images per second without the first two shards of each worker, in which it starts."""
    for _ in range(2 * workers):
        next(done)
    start = time.perf_counter()
    return sum(one.images for one in done) / (time.perf_counter() - start)


def start(folder: Path, workers: int) -> dict[str, float]:
    """Return the CPU time of runs that score almost nothing, in seconds."""
    paths = sorted(str(path) for path in (folder / str(SMALL)).iterdir())
    costs = []
    for number in range(STARTS):
        (folder / f"start-{number}").mkdir()
        costs.append(run_command(listed(folder / f"start-{number}", paths, START), workers)[1])
    return summary(costs)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", type=int, nargs="+", default=[1000, 4000], help="images of FULL x FULL")
    parser.add_argument("--small", type=int, nargs="+", default=[1000, 10_000, 100_000], help="images of SMALL x SMALL")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results file")
    options = parser.parse_args()
    workers = cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = radiographs(folder / str(FULL), FULL)
        radiographs(folder / str(SMALL), SMALL)
        results: dict[str, Any] = {
            "machine": machine(),
            "versions": {name: version(name) for name in ("onnxruntime", "pyarrow", "pillow", "pydicom")},
            "model": Predictor.load().model,
            "workers": workers,
            "distinct": DISTINCT,
            "load_before": os.getloadavg()[0],
            "image_bytes": float(np.mean([Path(path).stat().st_size for path in paths])),
            "images_per_s": compared(folder, paths, workers),
            "start_cpu_s": start(folder, workers),
            "runs": [],
        }
        wanted = [(FULL, images) for images in options.full] + [(SMALL, images) for images in options.small]
        for side, images in tqdm(wanted, desc="runs", disable=None):
            results["runs"].append(measured(folder, side, images, workers, results["start_cpu_s"]["median"]))
            options.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if options.out == RESULTS:
        subprocess.run([sys.executable, str(RESULTS.parents[2] / "scripts" / "write_figures.py")], check=True)


if __name__ == "__main__":
    main()
