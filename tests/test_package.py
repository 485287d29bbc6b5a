"""What ``scripts/build_package.py`` makes: whole, clean, the same twice, and enough to predict in an empty venv."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidcxr import __version__
from covidcxr.images.phantom import radiograph
from covidcxr.labels import Protocol

ROOT = Path(__file__).parents[1]
EPOCH = 1_767_225_600
PICTURES = {".png", ".jpg", ".jpeg", ".dcm", ".tif", ".tiff", ".webp", ".bmp", ".npy", ".npz", ".nii", ".gz", ".zip"}
SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|"
    rb"(?i:password|secret|api_key|token)\s*=\s*['\"](?!COVIDCXR_[A-Z_]+['\"])[^'\"\s]{8,}['\"]"
)
"""The name of an environment variable of ours is no secret."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def script():
    spec = importlib.util.spec_from_file_location("build_package", ROOT / "scripts" / "build_package.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the archives are made from, without what builds and tests left behind."""
    folder = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT / "src", folder / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "MANIFEST.in"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """Wheel and source archive, built twice from copies that differ in the name of their folder and in all times."""
    archives = []
    for name in ("first", "another-place"):
        folder = tmp_path_factory.mktemp(name)
        shutil.copytree(source, folder / "copy", copy_function=shutil.copyfile)
        archives.append(script().build(folder / "copy", folder / "out", EPOCH))
    return archives


@pytest.fixture(scope="module")
def wheel(built):
    return built[0][0]


def contents(archive):
    """Return the files of a wheel or source archive by name."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as file:
            return {name: file.read(name) for name in file.namelist()}
    with tarfile.open(archive) as file:
        return {member.name: file.extractfile(member).read() for member in file.getmembers() if member.isfile()}


def test_two_builds_give_the_same_bytes(built):
    for first, second in zip(*built, strict=True):
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes(), first.name


def test_the_index_would_take_them(built):
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_the_wheel_holds_all_that_the_package_has(wheel, source):
    found = {name for name in contents(wheel) if name.startswith("covidcxr/")}
    package = source / "src"
    there = {path.relative_to(package).as_posix() for path in (package / "covidcxr").rglob("*") if path.is_file()}
    assert there - found == set()
    reports = [f"assets/results/{protocol}.json" for protocol in Protocol]
    pages = ["evaluation/templates", "web/templates", "web/static", "web/browser"]
    for name in ("assets/covidcxr.onnx", "assets/lungs.onnx", "py.typed", "recipes/default.toml", *reports, *pages):
        assert any(file == f"covidcxr/{name}" or file.startswith(f"covidcxr/{name}/") for file in found), name


def test_no_data_no_secret_and_no_path_of_this_machine(built):
    places = [os.fsencode(place) for place in {str(ROOT), str(Path.home()), sys.prefix}]
    places += [b"/home/", b"/Users/"]
    for archive in built[0]:
        for name, content in contents(archive).items():
            assert Path(name).suffix not in PICTURES or "/web/static/" in name, name
            assert not SECRETS.search(content), name
            assert not [place for place in places if len(place) > 5 and place in content], name


def test_a_secret_and_a_path_would_be_noticed():
    assert SECRETS.search(b"token = 'abcdefgh12345678'")
    assert SECRETS.search(b"-----BEGIN RSA PRIVATE KEY-----")
    assert SECRETS.search(b'PASSWORD = "COVIDCXR_x7Kq2"')
    assert not SECRETS.search(b'PASSWORD = "COVIDCXR_DICOMWEB_PASSWORD"')


def test_an_empty_environment_predicts_with_the_model_inside(wheel, tmp_path):
    environment = tmp_path / "venv"
    venv.create(environment)
    python = environment / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    subprocess.run([*install, "--constraint", ROOT / "constraints.txt", wheel], check=True, env=clean)
    Image.fromarray(radiograph(np.random.default_rng(0))).save(tmp_path / "chest.png")
    done = subprocess.run(
        [environment / "bin" / "covidcxr", "predict", "chest.png", "--json"],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    answer = answer[0] if isinstance(answer, list) else answer
    assert answer["model"].startswith("covidcxr-default@")
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    shown = subprocess.run(
        [python, "-c", "import covidcxr; print(covidcxr.__version__, covidcxr.__file__)"],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.startswith(f"{__version__} {environment}")
