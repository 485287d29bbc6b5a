"""What the tests of deployments share: the files of the package, and a client that can enter a container."""

import json
import shutil
import subprocess
import sys
from contextlib import suppress

import numpy as np

from covidcxr.images.phantom import radiograph
from support.environment import ROOT
from support.processes import eventually
from support.uploads import MULTIPART, multipart, picture

PACKAGE = ("LICENSE", "NOTICE", "README.md", "constraints.txt", "pyproject.toml", "requirements.txt")
"""Files at the root that a wheel, or its installation, is made from."""
API = "/api/v1/predictions"
CLIENT = """
import sys, urllib.request
url, kind, token = sys.argv[1:]
head = {"Content-Type": kind, **({"Authorization": f"Bearer {token}"} if token else {})}
body = sys.stdin.buffer.read() or None
with urllib.request.urlopen(urllib.request.Request(url, body, head), timeout=30) as answer:
    sys.stdout.buffer.write(answer.read())
"""
"""Python alone, so that it runs in a namespace of the network that this process is not in."""


def copy_package(folder):
    """Copy what a wheel is built from: setuptools leaves its own files behind, and takes old ones from there."""
    for name in PACKAGE:
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))


def request(url, body=None, *, token="", inside=()):
    """GET, or POST a multipart body; ``inside`` is a command that enters a namespace first. Returns the JSON."""
    command = [*inside, sys.executable, "-c", CLIENT, url, MULTIPART, token]
    done = subprocess.run(command, input=body or b"", capture_output=True, timeout=60)
    if done.returncode:
        raise ConnectionError(done.stderr.decode())
    return json.loads(done.stdout)


def wait_until_ready(url, process, *, path="/readyz", inside=(), seconds=60):
    """Ask a server whether it is ready until it is, or its process ends."""
    return eventually(lambda: _answer(url + path, inside), seconds, process=process)


def _answer(url, inside):
    """Return the JSON of an answer, None if there is none."""
    with suppress(ConnectionError):
        return request(url, inside=inside)


def score(url, *, token="", inside=()):
    """Score a synthetic radiograph as a client does, and check that the answer is a prediction."""
    grey = radiograph(np.random.default_rng(0), size=(480, 400))
    answer = request(url + API, multipart([("a.png", picture(grey))]), token=token, inside=inside)
    assert abs(sum(answer[0]["probabilities"].values()) - 1) < 1e-3, answer
    return answer[0]
