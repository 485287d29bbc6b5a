"""Where things are, and what to do where something is not installed: skip on a user's machine, fail in CI."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
EXTRAS = {
    "train": ("pandas", "tensorflow"),
    "web": ("flask", "gunicorn"),
    "dicom": ("pynetdicom", "highdicom"),
    "batch": ("pyarrow", "ray"),
    "docs": ("sphinx", "jupytext"),
}
"""Packages that show whether an extra (or the dependency group docs) is installed."""
FOLDERS = {
    "audit": ("train",),
    "batch": ("batch", "train"),
    "cli": ("train", "web"),
    "data": ("train",),
    "deploy": ("web",),
    "dicom": ("dicom", "web"),
    "docs": ("docs", "train", "web", "dicom", "batch"),
    "evaluation": ("train",),
    "page": ("web", "dicom"),
    "recipes": ("train",),
    "training": ("train",),
    "web": ("web", "dicom"),
}
"""Folders of tests, and the extras that they need."""


def missing(reason):
    """Skip the test; fail where ``CI`` is set, because everything is installed there."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def missing_extras(folder):
    """Return the extras that the tests of a folder need and that are not installed."""
    return [extra for extra in FOLDERS.get(folder, ()) if not all(map(find_spec, EXTRAS[extra]))]


def program(name, package=None):
    """Return the path of an installed program; without it the test is skipped, or fails in CI.

    Args:
        name: Name of the program.
        package: Debian package that holds it, if that has another name.
    """
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        missing(f"{name} is not installed (Debian package {package or name})")
    return path
