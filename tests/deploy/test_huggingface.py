"""The Space: put together as the guide says, built, and run as the user that Spaces run as."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml

from support import containers, dockerfile
from support.deployment import copy_package, score, wait_until_ready
from support.environment import DEPLOY, ROOT

FOLDER = DEPLOY / "huggingface"
FRONT = yaml.safe_load((FOLDER / "README.md").read_text().split("---\n")[1])
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
"""That a Space's card may have."""
LONGEST_DESCRIPTION = 60


def test_the_front_matter_is_what_a_space_needs():
    assert FRONT["sdk"] == "docker"
    assert FRONT["app_port"] == dockerfile.port(FOLDER / "Dockerfile")
    assert {FRONT["colorFrom"], FRONT["colorTo"]} <= COLOURS
    assert len(FRONT["short_description"]) <= LONGEST_DESCRIPTION
    assert FRONT["license"] == "apache-2.0"


def test_it_has_the_base_of_the_dockerfile():
    argument = re.compile(r"^ARG .*$", re.MULTILINE)
    assert argument.findall((FOLDER / "Dockerfile").read_text()) == argument.findall((ROOT / "Dockerfile").read_text())


@pytest.mark.slow
def test_it_scores_a_picture(tmp_path):
    containers.tools()
    containers.base_image(FOLDER / "Dockerfile")
    project, space, log = tmp_path / "project", tmp_path / "space", tmp_path / "log"
    project.mkdir()
    copy_package(project)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", space, "."]
    subprocess.run(wheel, check=True, cwd=project)
    for file in (FOLDER / "README.md", FOLDER / "Dockerfile", ROOT / "constraints.txt"):
        shutil.copy(file, space)
    containers.build(space / "Dockerfile", "covidcxr-space:test", space, tmp_path)
    assert containers.inspect("covidcxr-space:test")["Config"]["User"] == "1000:1000"
    url = f"http://127.0.0.1:{FRONT['app_port']}"
    with containers.running("covidcxr-space:test", "covidcxr-space", log) as (process, inside):
        wait_until_ready(url, process, inside=inside)
        score(url, inside=inside)
    assert process.returncode == 0, log.read_text()
