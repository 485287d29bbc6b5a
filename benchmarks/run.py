"""Speed and size of ``covidcxr serve`` against the classic deployment, both in one run: ``make bench``.

Writes benchmarks/results.json and the tables in the docs. Run on an otherwise idle machine; bytecode is cached
on both sides before anything is timed.
"""

import io
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from threading import Event, Thread

import numpy as np
import requests
from PIL import Image
from tqdm import tqdm

from covidcxr._system import cores
from covidcxr.images.phantom import radiograph

HERE = Path(__file__).parent
PYTHON = sys.executable
STARTS, REQUESTS, TURNS = 5, 100, 6
SAMPLING_S = 0.01
SIDE = 1024
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
    "TF_CPP_MIN_LOG_LEVEL": "3"
}


def picture() -> bytes:
    """Return a synthetic radiograph of SIDE x SIDE pixels as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(radiograph(np.random.default_rng(0), size=(SIDE, SIDE))).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def server(name: str, model: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """Start a deployment; yield the address that scores, the process and the time of its start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ours = [str(Path(PYTHON).with_name("covidcxr")), "serve", "--port", port]
    command, path = {
        "classic": ([PYTHON, str(HERE / "classic_app.py"), str(model), port], "predict"),
        "covidcxr": (ours, "api/v1/predictions"),
    }[name]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/{path}", process, start
    finally:
        process.terminate()
        process.wait(30)


def score(session: requests.Session, address: str, png: bytes) -> None:
    """Send one picture and wait for its prediction."""
    session.post(address, files={"file": ("picture.png", png)}, timeout=60).raise_for_status()


def wait_for_first(session: requests.Session, address: str, png: bytes, process: subprocess.Popen[bytes]) -> None:
    """Send the picture until it is scored."""
    while True:
        try:
            return score(session, address, png)
        except requests.ConnectionError:
            if process.poll() is not None:
                sys.exit(f"Expected a server at {address}. Received the end of its process.")
            time.sleep(0.005)


def memory(process: subprocess.Popen[bytes]) -> float:
    """Return the memory (MB) of a process and its children now.

    Private pages of each, and of the shared pages those of the process that has most: what a parent and its child
    share counts once, what they share with other programs (libraries) counts in full.
    """
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    maps = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (process.pid, *children)]
    private, shared = (
        [sum(map(int, re.findall(rf"^{kind}_(?:Clean|Dirty):\s+(\d+)", text, re.MULTILINE))) for text in maps]
        for kind in ("Private", "Shared")
    )
    return (sum(private) + max(shared)) / 1e3


@contextmanager
def watched_memory(process: subprocess.Popen[bytes]) -> Iterator[list[float]]:
    """Note the memory of a process every SAMPLING_S seconds while the block runs."""
    samples: list[float] = []
    done = Event()

    def watch() -> None:
        while not done.wait(SAMPLING_S):
            with suppress(OSError, IndexError):  # a process that just ended
                samples.append(memory(process))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        done.set()
        watcher.join()


def timings(name: str, model: Path, png: bytes) -> dict[str, list[float]]:
    """Start a deployment once: seconds to the first prediction, milliseconds of a warm request."""
    with server(name, model) as (address, process, start), requests.Session() as session:
        wait_for_first(session, address, png, process)
        cold = time.perf_counter() - start
        warm = []
        for _ in range(REQUESTS):
            begin = time.perf_counter()
            score(session, address, png)
            warm.append(1e3 * (time.perf_counter() - begin))
        return {"cold_start_s": [cold], "warm_request_ms": [float(np.median(warm))]}


def peak(name: str, model: Path, png: bytes) -> dict[str, list[float]]:
    """Start a deployment once more, not timed, and return its largest memory in MB."""
    with (
        server(name, model) as (address, process, _),
        watched_memory(process) as samples,
        requests.Session() as session,
    ):
        wait_for_first(session, address, png, process)
        for _ in range(REQUESTS // 5):
            score(session, address, png)
    return {"peak_mb": [max(samples)]}


def installed_mb(*names: str) -> float:
    """Return the size (MB) of the files of packages and of all that they need, as installed here."""
    seen: set[str] = set()
    queue = list(names)
    while queue:
        name = re.split(r"[ ;<>=!~\[(]", queue.pop(), maxsplit=1)[0].lower().replace("_", "-")
        if name in seen:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # of another platform or Python version
        seen.add(name)
        queue += [need for need in found.requires or () if "extra ==" not in need]
    paths = {found.locate_file(file) for name in seen for found in [distribution(name)] for file in found.files or ()}
    sizes = [
        Path(str(path)).stat().st_size for path in paths if Path(str(path)).is_file() and "__pycache__" not in str(path)
    ]
    return sum(sizes) / 1e6


def serving_needs() -> list[str]:
    """Return what ``pip install covidcxr[web]`` asks for, as its metadata say it."""
    needs = distribution("covidcxr").requires or []
    return [need for need in needs if "extra ==" not in need or re.search(r"extra == .web.", need)]


def own_mb() -> float:
    """Return the size (MB) of covidcxr itself with all weights, which an editable installation does not list."""
    package = Path(str(files("covidcxr")))
    return sum(path.stat().st_size for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc") / 1e6


def machine() -> str:
    """Return what the figures were measured on."""
    return f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}"


def summary(values: list[float]) -> dict[str, float]:
    """Return median, smallest and largest value."""
    return {"median": float(np.median(values)), "min": min(values), "max": max(values), "n": len(values)}


def alone(networks: Mapping[str, tuple[str, Path]]) -> dict[str, dict[str, float]]:
    """Time networks alone, each in a process of its own, in turn: what slows the machine for a while slows all."""
    found: dict[str, list[float]] = {name: [] for name in networks}
    for _ in tqdm(range(TURNS), desc="networks", disable=None):
        for name, (kind, model) in networks.items():
            command = [PYTHON, str(HERE / "network_alone.py"), kind, str(model)]
            found[name] += json.loads(subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True).stdout)
    return {name: summary(values) for name, values in found.items()}


def imports(modules: str) -> float:
    """Return the seconds that Python takes to start, import and end."""
    begin = time.perf_counter()
    subprocess.run([PYTHON, "-c", f"import {modules}"], env=ENVIRONMENT, check=True)
    return time.perf_counter() - begin


def measure(folder: Path) -> dict[str, object]:
    """Run everything, the two deployments in turn."""
    model, plain, png = folder / "classic.keras", folder / "plain.onnx", picture()
    for script, file in (("classic_model.py", model), ("plain_network.py", plain)):
        subprocess.run([PYTHON, str(HERE / script), str(file)], env=ENVIRONMENT, check=True)
    series: dict[str, dict[str, list[float]]] = {"classic": {}, "covidcxr": {}}
    floor: list[float] = []
    for turn in tqdm(range(STARTS + 1), desc="deployments", disable=None):
        floor.append(imports("numpy, PIL.Image, onnxruntime, flask"))
        for name, found in series.items():
            for key, values in (timings(name, model, png) | peak(name, model, png)).items():
                if turn:  # the first turn caches bytecode and files
                    found.setdefault(key, []).extend(values)
    own = Path(str(files("covidcxr") / "assets" / "covidcxr.onnx"))
    return {
        "machine": machine(),
        "versions": {name: distribution(name).version for name in ("tensorflow", "keras", "onnxruntime", "flask")},
        "picture": f"synthetic radiograph, PNG, {SIDE} x {SIDE}",
        "deployments": {
            name: {key: summary(values) for key, values in found.items()} for name, found in series.items()
        },
        "imports_s": summary(floor[1:]),
        "install_mb": {
            "classic": installed_mb("tensorflow", "flask", "pillow"),
            "covidcxr": installed_mb(*serving_needs()) + own_mb(),
        },
        "network_ms": alone(
            {
                "classic network, Keras predict": ("keras-predict", model),
                "classic network, Keras direct call": ("keras-call", model),
                "EfficientNet-Lite0 at 224 px, ONNX Runtime": ("onnxruntime", plain),
                "shipped network, ONNX Runtime": ("onnxruntime", own),
            }
        ),
    }


def main() -> None:
    """Measure, write the results, bring the tables up to date."""
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder))
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    subprocess.run([PYTHON, str(HERE.parent / "scripts" / "write_figures.py")], check=True)


if __name__ == "__main__":
    main()
