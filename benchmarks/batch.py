"""Cost per image and memory of ``covidcxr batch``, from a thousand images to a hundred thousand.

Lists that name a few synthetic radiographs again and again, so that no disk has to hold them: a third each PNG, JPEG
and DICOM of 12 bits. Those of FULL x FULL pixels say what an image costs, many small ones whether that grows. They are
read from memory (the system's page cache): docs/scaling.md computes what a disk or a store adds. Then processes against
threads, in turn. Writes docs/results/batch.json and the figures in docs/scaling.md. CPU time counts what the work costs
also where others share the cores; seconds do not.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
from run import summary
from tqdm import tqdm

from covidcxr.batch.plan import PLAN, Plan, Settings, make_plan
from covidcxr.batch.pool import score_here
from covidcxr.batch.scoring import Done, Job, Scorer
from covidcxr.batch.sources import find
from covidcxr.batch.summary import count
from covidcxr.phantom import radiograph

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "batch.json"
FULL, SMALL = 1024, 128
"""Pixels of a side."""
DISTINCT = 48
ROUNDS, COMPARED = 4, 256
"""Of processes against threads, and images of each: twelve shards."""
SAMPLING_S = 0.5
WARM = 0.1
"""Share of a run after which its memory is read for the first time."""


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


def measured(folder: Path, side: int, images: int, workers: int) -> dict[str, Any]:
    """Run the command over a list; sample the memory of all its processes, and take its CPU time."""
    table = listed(folder, sorted(str(path) for path in (folder / str(side)).iterdir()), images)
    out = table.with_suffix("")
    command = [sys.executable, "-m", "covidcxr", "batch", str(table), "--out", str(out), "--workers", str(workers)]
    before, start, memory = os.times(), time.perf_counter(), []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        memory.append(memory_mb(process.pid))
        time.sleep(SAMPLING_S)
    if process.returncode:
        sys.exit(f"Expected {' '.join(command)} to succeed. Received exit status {process.returncode}.")
    after, seconds = os.times(), time.perf_counter() - start
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    parts = sum(path.stat().st_size for path in out.glob("part-*.parquet"))
    warm = memory[int(WARM * len(memory)) :]
    edge = max(len(warm) // 10, 1)
    said = json.loads((out / "summary.json").read_text())
    return {
        "side": side,
        "images": images,
        "seconds": seconds,
        "images_per_s": images / seconds,
        "cpu_ms_per_image": 1000 * cpu_s / images,
        "memory_mb": {
            "after_a_tenth": float(np.median(warm[:edge])),
            "at_the_end": float(np.median(warm[-edge - 1 : -1])),
            "largest": max(memory),
        },
        "ms_per_image": said["ms_per_image"],
        **around(table, out, images),
        "row_bytes": parts / images,
        "plan_bytes": (out / PLAN).stat().st_size / images,
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


def memory_mb(pid: int) -> float:
    """Return what a process and all below it hold, pages that they share counted once."""
    total = 0
    try:
        family = psutil.Process(pid)
        for process in [family, *family.children(recursive=True)]:
            total += process.memory_full_info().pss
    except psutil.Error:  # one has just ended
        pass
    return total / 1e6


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
    scorer = Scorer(job, job.predictor(threads=1))
    with ThreadPoolExecutor(workers) as pool:
        yield from (future.result() for future in as_completed([pool.submit(scorer, shard) for shard in shards]))


def rate(done: Iterator[Done], workers: int) -> float:
    """Return the images per second of all shards but the first two of each worker, in which it starts."""
    for _ in range(2 * workers):
        next(done)
    start = time.perf_counter()
    return sum(one.images for one in done) / (time.perf_counter() - start)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", type=int, nargs="+", default=[1000, 10_000], help="images of FULL x FULL")
    parser.add_argument("--small", type=int, nargs="+", default=[1000, 100_000], help="images of SMALL x SMALL")
    options = parser.parse_args()
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = radiographs(folder / str(FULL), FULL)
        radiographs(folder / str(SMALL), SMALL)
        load = os.getloadavg()[0]
        against = compared(folder, paths, workers)
        wanted = [(FULL, images) for images in options.full] + [(SMALL, images) for images in options.small]
        runs = [measured(folder, *one, workers) for one in tqdm(wanted, desc="runs", disable=None)]
        results = {
            "machine": f"{workers} cores, {platform.machine()}, Python {platform.python_version()}",
            "versions": {name: version(name) for name in ("onnxruntime", "pyarrow", "pillow", "pydicom")},
            "workers": workers,
            "load_before": load,
            "image_bytes": float(np.mean([Path(path).stat().st_size for path in paths])),
            "images_per_s": against,
            "runs": runs,
        }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    subprocess.run([sys.executable, str(RESULTS.parents[2] / "scripts" / "write_figures.py")], check=True)


if __name__ == "__main__":
    main()
