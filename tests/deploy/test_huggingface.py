"""The Space: its card, and of one mind with the Dockerfile. test_containers.py builds and runs it."""

import re

import yaml

from support import dockerfile
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
