"""``covidcxr serve`` under load, against the classic deployment and against a loop without HTTP: ``make bench-load``.

Writes benchmarks/load.json and the table in the docs. Needs wrk (Debian package wrk) and an otherwise idle machine; the
client runs on the same cores as the server.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from run import ENVIRONMENT, HERE, PYTHON, machine, picture, score, server, summary, wait_for_first
from tqdm import tqdm

from covidcxr import __version__
from covidcxr._system import cores
from covidcxr.images.decode import decode_image
from covidcxr.prediction.predictor import Predictor

ROUNDS, SECONDS = 3, 8
CLIENTS = (1, 8)
MANY, LONG = 64, 60
"""Clients, and seconds, of the long run."""
BOUNDARY = "picture-boundary"


def body(png: bytes) -> bytes:
    """Return the multipart form of one picture."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="picture.png"\r\n\r\n'
    return head.encode() + png + f"\r\n--{BOUNDARY}--\r\n".encode()


def press(address: str, form: Path, clients: int, seconds: int) -> dict[str, float]:
    """Send the form from so many clients at a time; wrk's figures."""
    command = ["wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{seconds}s", "--timeout", "60s"]
    environment = os.environ | {"BODY": str(form), "BOUNDARY": BOUNDARY}
    command += ["--script", str(HERE / "load.lua"), address]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"per_s": found["requests"] / found["seconds"]}


def loop(png: bytes, seconds: float) -> float:
    """Return pictures per second of decoding and predicting alone, on all cores: a thread and a model on each."""
    predictors = [Predictor.load(threads=1) for _ in range(cores())]
    end = time.monotonic() + seconds

    def work(predictor: Predictor) -> int:
        count = 0
        while time.monotonic() < end:
            predictor.predict(decode_image(png, "picture.png"))
            count += 1
        return count

    begin = time.monotonic()
    with ThreadPoolExecutor(len(predictors)) as pool:
        count = sum(pool.map(work, predictors))
    return count / (time.monotonic() - begin)


def round_of(name: str, model: Path, png: bytes, form: Path) -> dict[str, float]:
    """Start a deployment and return its requests per second for each of CLIENTS."""
    with server(name, model) as (address, process, _), requests.Session() as session:
        wait_for_first(session, address, png, process)
        for _ in range(20):
            score(session, address, png)
        found = {clients: press(address, form, clients, SECONDS) for clients in CLIENTS}
    if errors := sum(row["errors"] for row in found.values()):
        sys.exit(f"Expected no errors of {name}. Received {errors:.0f}.")
    return {f"per_s_{clients}": row["per_s"] for clients, row in found.items()} | {"p50_ms": found[1]["p50_ms"]}


def measure(folder: Path) -> dict[str, object]:
    """Run everything, the deployments and the loop in turn."""
    model, form, png = folder / "classic.keras", folder / "form", picture()
    form.write_bytes(body(png))
    subprocess.run([PYTHON, str(HERE / "classic_model.py"), str(model)], env=ENVIRONMENT, check=True)
    series: dict[str, dict[str, list[float]]] = {"classic": {}, "covidcxr": {}}
    loops: list[float] = []
    for _ in tqdm(range(ROUNDS), desc="load", disable=None):
        for name, found in series.items():
            for key, value in round_of(name, model, png, form).items():
                found.setdefault(key, []).append(value)
        loops.append(loop(png, SECONDS))
    with server("covidcxr", model) as (address, process, _), requests.Session() as session:
        wait_for_first(session, address, png, process)
        many = press(address, form, MANY, LONG)
        loops.append(loop(png, SECONDS))  # at once, for a machine shared with others is not always as fast
    return {
        "deployments": {name: {key: summary(v) for key, v in found.items()} for name, found in series.items()},
        "loop_per_s": summary(loops),
        "many": many | {"clients": MANY},
        "machine": machine(),
        "covidcxr": __version__,
    }


def main() -> None:
    """Measure and write the figures."""
    if shutil.which("wrk") is None:
        sys.exit("Expected wrk on the path (Debian package wrk). Received none.")
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder))
    (HERE / "load.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    subprocess.run([PYTHON, str(HERE.parent / "scripts" / "write_figures.py")], check=True)


if __name__ == "__main__":
    main()
