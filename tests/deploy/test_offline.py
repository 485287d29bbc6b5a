"""A wheelhouse, and a machine without any network that installs from it, as the guide for hospitals says."""

import os
import subprocess
import sys

import pytest

from support.deployment import copy_package, score, wait_until_ready
from support.environment import missing, program
from support.processes import running

URL = "http://127.0.0.1:8000"
ALONE = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""A command in a network of its own that leads nowhere."""


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("offline")
    copy_package(folder)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", "wheelhouse", "-r", "requirements.txt"]
    subprocess.run(wheel, check=True, cwd=folder)
    return folder / "wheelhouse"


@pytest.mark.slow
def test_it_is_installed_and_scores_a_picture_without_a_network(wheelhouse, tmp_path):
    program("unshare", "util-linux"), program("nsenter", "util-linux"), program("ip", "iproute2")
    if os.geteuid() != 0:
        missing("only root makes networks")
    programs, log = tmp_path / "venv" / "bin", tmp_path / "log"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    install = [programs / "pip", "install", "--quiet", "--no-index", "--find-links", wheelhouse, "covidcxr[web]"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHONPATH"))}
    environment["PIP_CONFIG_FILE"] = os.devnull
    subprocess.run([*ALONE, *install], check=True, env=environment, cwd=tmp_path)
    with running([*ALONE, programs / "covidcxr", "serve"], log, env=environment) as process:
        inside = ["nsenter", f"--net=/proc/{process.pid}/ns/net"]
        wait_until_ready(URL, process, inside=inside)
        score(URL, inside=inside)
    assert process.returncode == 0, log.read_text()


@pytest.mark.slow
def test_the_wheelhouse_holds_what_serving_needs_and_no_more(wheelhouse):
    names = {file.name.split("-")[0].lower() for file in wheelhouse.iterdir()}
    assert names >= {"covidcxr", "onnxruntime", "flask", "gunicorn"}
    assert not names & {"tensorflow", "keras", "pandas", "scipy", "torch"}
    assert all(file.suffix == ".whl" for file in wheelhouse.iterdir())
