"""Cost per image and memory of ``covidcxr batch``, from a thousand images to a hundred thousand.

Lists that name a few synthetic radiographs again and again, so that no disk has to hold them: a third each PNG, JPEG
and DICOM of 12 bits. Those of FULL x FULL pixels say what an image costs, many small ones whether that grows. They are
read from memory (the system's page cache): docs/scaling.md computes what a disk or a store adds. What a run costs until
it scores is measured by runs of START images and taken off; each run is looked at in tenths of its images. Then
processes against threads, in turn. Writes docs/results/batch.json, after each run, and the figures in docs/scaling.md.
CPU time counts what the work costs also where others share the cores; seconds do not.
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
from covidcxr.batch.plan import PLAN, Plan, Settings, make_plan, parts_done
from covidcxr.batch.pool import score_here
from covidcxr.batch.scoring import Done, Job, Scorer
from covidcxr.batch.sources import find
from covidcxr.batch.summary import count
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.predictor import Predictor

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "batch.json"
FULL, SMALL = 1024, 128
"""Pixels of a side."""
DISTINCT = 48
ROUNDS, COMPARED = 3, 896
"""Of processes against threads, and images of each: eight shards of each of the three smallest sizes."""
SAMPLING_S = 0.5
START, STARTS = 32, 3
"""Images, a shard for each of two workers, and runs: what they cost is the start of a run, but for some images."""


def radiographs(folder: Path, side: int) -> list[str]:
    """Draw the distinct images of this size."""
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
    """Return an uncompressed computed radiograph of 12 bits: uint16, shape (height, width)."""
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
    """Write a list of so many images."""
    table = folder / f"{Path(paths[0]).parent.name}-{images}.parquet"
    pq.write_table(pa.table({"path": [paths[number % len(paths)] for number in range(images)]}), table)
    return table


@dataclass(frozen=True, kw_only=True)
class Sample:
    """All processes of a run at one moment.

    Attributes:
        images: Rows in finished parts.
        cpu_s: CPU time so far, seconds, that of processes that have ended included.
        memory_mb: What they hold, pages that they share counted once, 10^6 bytes.
    """

    images: int
    cpu_s: float
    memory_mb: float


def run_command(table: Path, workers: int) -> tuple[float, float, list[Sample]]:
    """Run the command over a list; return its seconds, its CPU time and what was seen of it meanwhile."""
    out = table.with_suffix("")
    command = [sys.executable, "-m", "covidcxr", "batch", str(table), "--out", str(out), "--workers", str(workers)]
    before, start, seen = os.times(), time.perf_counter(), []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if (sample := look(process.pid, out)) is not None:
            seen.append(sample)
        time.sleep(SAMPLING_S)
    if process.returncode:
        sys.exit(f"Expected {' '.join(command)} to succeed. Received exit status {process.returncode}.")
    after, seconds = os.times(), time.perf_counter() - start
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu_s, seen


def look(pid: int, out: Path) -> Sample | None:
    """Look at a process and all below it; None where one has just ended, or nothing is planned yet."""
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
    """Run the command over so many images; return what they cost and what it held.

    Args:
        folder: With a folder of images of each size.
        side: Pixels.
        images: How many.
        workers: Processes.
        start_s: CPU time of a run before its first image.
    """
    table = listed(folder, sorted(str(path) for path in (folder / str(side)).iterdir()), images)
    out = table.with_suffix("")
    seconds, cpu_s, seen = run_command(table, workers)
    parts = sum(path.stat().st_size for path in out.glob("part-*.parquet"))
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
    """Return CPU time per image and memory in the tenths of a run after the first, in which the processes start.

    Both as medians with smallest and largest; the memory of the last tenth less that of the second also by itself.
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
    """Return the CPU time of what one process does for all: the plan before, the summary after."""
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
    """Return images per second of processes and of threads, in turn, without their start. Each goes first in turn."""
    kinds = {"processes": score_here, "threads": with_threads}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    table = listed(folder, paths, COMPARED)
    for number in tqdm(range(ROUNDS), desc="processes against threads", disable=None):
        for kind, score in list(kinds.items())[:: -1 if number % 2 else 1]:
            job = Job(out=str(folder / f"{kind}-{number}"), model=None)
            model = job.predictor(threads=1).model
            plan = make_plan(job.out, Settings(sources=(), model=model, maps=None), find([str(table)]))
            rates[kind].append(rate(score(job, list(range(plan.shards)), workers=workers), workers))
    return {kind: summary(found) for kind, found in rates.items()}


def with_threads(job: Job, shards: list[int], *, workers: int) -> Iterator[Done]:
    """Score shards in threads that share one model."""
    predictor, own = job.predictor(threads=1), local()

    def score(shard: int) -> Done:
        if not hasattr(own, "scorer"):
            own.scorer = Scorer(job, predictor)  # each reads the plan by itself: pyarrow's files are for one thread
        done: Done = own.scorer(shard)
        return done

    with ThreadPoolExecutor(workers) as pool:
        yield from (future.result() for future in as_completed([pool.submit(score, shard) for shard in shards]))


def rate(done: Iterator[Done], workers: int) -> float:
    """Return the images per second of all shards but the first two of each worker, in which it starts."""
    for _ in range(2 * workers):
        next(done)
    start = time.perf_counter()
    return sum(one.images for one in done) / (time.perf_counter() - start)


def start(folder: Path, workers: int) -> dict[str, float]:
    """Return the CPU time of a run that scores next to nothing, seconds."""
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
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the results")
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
