"""Cost per image and memory of ``covidcxr batch``, from a thousand images to a hundred thousand: ``--images``.

Lists that name a few synthetic radiographs again and again, so that no disk has to hold them: a third each PNG, JPEG
and DICOM of 12 bits, SIDE x SIDE. They are read from memory (the system's page cache); what reading from a disk or a
store adds is computed in docs/scaling.md. Then processes against threads, in turn. Writes docs/results/batch.json and
the figures in docs/scaling.md. CPU time counts what the work costs also where others share the cores; seconds do not.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
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
from covidcxr.batch.scoring import Job, Scorer
from covidcxr.batch.sources import find
from covidcxr.batch.summary import count
from covidcxr.phantom import radiograph

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "batch.json"
SIDE = 1024
DISTINCT = 48
ROUNDS, COMPARED = 5, 128
"""Of processes against threads, and images of each: eight shards of one size."""
SAMPLING_S = 0.5
WARM = 0.1
"""Share of a run after which its memory is read for the first time."""


def radiographs(folder: Path) -> list[str]:
    """Draw the distinct images."""
    paths = []
    for number in tqdm(range(DISTINCT), desc="drawing", disable=None):
        grey = radiograph(np.random.default_rng(number), size=(SIDE, SIDE))
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
    table = folder / f"{images}.parquet"
    pq.write_table(pa.table({"path": [paths[number % len(paths)] for number in range(images)]}), table)
    return table


def measured(table: Path, images: int, workers: int) -> dict[str, Any]:
    """Run the command over a list; sample the memory of all its processes, and take its CPU time."""
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
    """Return images per second of processes and of threads, in turn, without their start."""
    kinds = {"processes": with_processes, "threads": with_threads}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    table = listed(folder, paths, COMPARED * 2)
    for number in tqdm(range(ROUNDS), desc="processes against threads", disable=None):
        for kind, score in kinds.items():
            job = Job(out=str(folder / f"{kind}-{number}"), model=None)
            model = job.predictor(threads=1).model
            plan = make_plan(job.out, Settings(sources=(), model=model, maps=None), find([str(table)]))
            rates[kind].append(score(job, list(range(plan.shards)), workers))
    return {kind: summary(found) for kind, found in rates.items()}


def with_processes(job: Job, shards: list[int], workers: int) -> float:
    """Images per second as the command works, from the first shard that is done on."""
    done = score_here(job, shards, workers=workers)
    next(done)
    start = time.perf_counter()
    return sum(one.images for one in done) / (time.perf_counter() - start)


def with_threads(job: Job, shards: list[int], workers: int) -> float:
    """Images per second of threads that share one model, from the first shard that is done on."""
    scorer = Scorer(job, job.predictor(threads=1))
    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(scorer, shards)
        next(done)
        start = time.perf_counter()
        return sum(one.images for one in done) / (time.perf_counter() - start)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 100_000])
    options = parser.parse_args()
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = radiographs(folder)
        load = os.getloadavg()[0]
        against = compared(folder, paths, workers)
        runs = [measured(listed(folder, paths, images), images, workers) for images in options.images]
        results = {
            "machine": f"{workers} cores, {platform.machine()}, Python {platform.python_version()}",
            "versions": {name: version(name) for name in ("onnxruntime", "pyarrow", "pillow", "pydicom")},
            "workers": workers,
            "load_before": load,
            "image": {"side": SIDE, "mean_bytes": float(np.mean([Path(path).stat().st_size for path in paths]))},
            "images_per_s": against,
            "runs": runs,
        }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    subprocess.run([sys.executable, str(RESULTS.parents[2] / "scripts" / "write_figures.py")], check=True)


if __name__ == "__main__":
    main()
