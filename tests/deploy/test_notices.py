"""Whoever deploys reads what it is for, in every file that they touch."""

import pytest

from covidcxr import DISCLAIMER
from support.environment import DEPLOY, ROOT

AT_THE_ROOT = [ROOT / name for name in ("Dockerfile", "Procfile", "compose.yaml", "requirements.txt")]
FOLDERS = (DEPLOY, DEPLOY / "kubernetes", DEPLOY / "huggingface")
FILES = [*AT_THE_ROOT, ROOT / "docs" / "deploy.md", *(file for folder in FOLDERS for file in folder.iterdir())]


@pytest.mark.parametrize("file", [file for file in FILES if file.is_file()], ids=lambda file: file.name)
def test_it_says_what_it_is_for_near_its_beginning(file):
    head = file.read_text().split("\n\n")[:4]
    assert DISCLAIMER in " ".join(" ".join(head).split())


def test_no_file_is_forgotten():
    assert {file.name for file in FILES} >= {"deployment.yaml", "nginx.conf", "covidcxr.service", "README.md"}
