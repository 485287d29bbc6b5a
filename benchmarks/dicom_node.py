"""Benchmark of ``covidcxr dicom node``: killed under load, fuzzed, and with Orthanc. Run by ``make bench-dicom``.

Runs the scenarios of tests/dicom at a larger scale, with the shipped model and full-size radiographs, and fails if the
node loses, duplicates or breaks anything. Writes benchmarks/dicom.json and the table in docs/dicom.md. Needs Debian's
dcmtk, orthanc and orthanc-dicomweb. Senders, node and archive share the cores.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from run import HERE, SIDE, machine, summary
from tqdm import tqdm

from covidcxr import __version__
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.predictor import Predictor

sys.path.insert(0, str(HERE.parent / "tests"))
from support.dicom_node import chest, save  # a package of the tests, found by the line above
from support.orthanc import orthanc_and_node
from support.survival import fuzzed, killed_twice, peak_mb

MODEL = Path(str(files("covidcxr") / "assets" / "covidcxr.onnx"))
GREY = radiograph(np.random.default_rng(0), size=(SIDE, SIDE))
IMAGES, ASSOCIATIONS = 200, 8
MESSAGES = 20_000
"""Half data sets, half PDUs."""
ARRIVALS = 50


def killed(folder: Path) -> dict[str, Any]:
    """Kill the node under load."""
    return killed_twice(folder, MODEL, images=IMAGES, associations=ASSOCIATIONS, grey=GREY)


def mutated(folder: Path) -> dict[str, Any]:
    """Send mutated messages to the node."""
    return fuzzed(folder, MODEL, messages=MESSAGES, grey=GREY)


def arrivals(folder: Path) -> dict[str, Any]:
    """Send images to Orthanc one after the other; measure the time to results and the CPU time of the node."""
    paths = [save(chest(number, grey=GREY), folder / f"{number}.dcm") for number in range(ARRIVALS)]
    with orthanc_and_node(folder, MODEL) as (server, process):
        node = psutil.Process(process.pid)
        before = sum(node.cpu_times()[:2])
        seconds = [server.seconds_to_results(path) for path in tqdm(paths, desc="arrivals", disable=None)]
        cpu_s = sum(node.cpu_times()[:2]) - before
        return {
            "seconds": summary(seconds),
            "node_cpu_s_per_image": cpu_s / ARRIVALS,
            "node_peak_mb": peak_mb(process.pid),
        }


RUNS: dict[str, Callable[[Path], dict[str, Any]]] = {"arrivals": arrivals, "killed": killed, "fuzzed": mutated}


def main() -> None:
    """Measure and write the figures."""
    results: dict[str, Any] = {}
    for name, measure in tqdm(RUNS.items(), desc="runs", disable=None):
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measure(Path(folder))
    results |= {
        "side": SIDE,
        "model": Predictor.load().model,
        "machine": machine(),
        "versions": {name: version(name) for name in ("pydicom", "pynetdicom", "highdicom")},
        "covidcxr": __version__,
    }
    (HERE / "dicom.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    subprocess.run([sys.executable, str(HERE.parent / "scripts" / "write_figures.py")], check=True)


if __name__ == "__main__":
    main()
