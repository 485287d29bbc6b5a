"""Fixtures that several tests share. What needs a heavy package imports it when a test asks for the fixture."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.environment import ROOT, missing, missing_extras, program

FIRST = ("docs/test_notebooks.py", "deploy/test_containers.py", "docs/test_site.py", "test_package.py")
"""The longest files, which begin first so that none of them is what everything waits for at the end."""
SLOW = (
    *("audit", "deploy", "docs", "page", "training", "test_no_training_imports.py", "test_system_memory.py"),
    *("batch/test_pool.py", "batch/test_reference.py", "cli/test_data.py", "data/test_build.py", "data/test_report.py"),
    *("dicom/test_transfer_syntaxes.py", "dicom/test_work.py"),
    *("evaluation/test_protocols.py", "evaluation/test_cross_source.py"),
)
"""Folders and files that load TensorFlow, start many processes or take seconds: ``make fast`` leaves them out."""
BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start, also where the tests run as a background job that ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what ``-m "not slow"`` leaves out: TensorFlow alone takes ten seconds a process."""
    name = collection_path.relative_to(Path(__file__).parent).as_posix()
    return True if "not slow" in config.option.markexpr and name.startswith(SLOW) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; all others keep their order. What drives the browser is slow, too."""
    here = Path(__file__).parent
    for item in items:
        name = item.path.relative_to(here).as_posix()
        if "browser" in getattr(item, "fixturenames", ()) or name.startswith(SLOW):
            item.add_marker("slow")
    order = {here / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(FIRST)))


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what was imported and run less often: it slowed the building of networks."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class Uninstalled(pytest.Directory):
    """A folder of tests whose extra is not installed: skipped with the reason, failed in CI."""

    def collect(self) -> list[pytest.Item]:
        """Say what to install."""
        extras = ",".join(missing_extras(self.path.name))
        missing(f"tests/{self.path.name} needs the extras [{extras}]: pip install -e '.[{extras}]'")
        return []


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Skip a folder of tests whose extra is not installed."""
    if path.parent == Path(__file__).parent and missing_extras(path.name):
        return Uninstalled.from_parent(parent, path=path)
    return None


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real collections; without it the test is skipped, or fails in CI."""
    root = Path(os.environ.get("COVIDCXR_DATA", ROOT.parent / "shared" / "data"))
    if not root.is_dir():
        missing(f"no real collections in {root} (set COVIDCXR_DATA)")
    return root


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that calls a bright image COVID-19 and a dark one normal: see support.small_models."""
    from support.small_models import write_brightness

    path = tmp_path_factory.mktemp("model") / "brightness.onnx"
    write_brightness(path)
    return path


@pytest.fixture(scope="session")
def lung_model_file(model_file: Path) -> Path:
    """The tiny model with the output ``lungs``."""
    from support.small_models import with_lungs

    return with_lungs(model_file, model_file.with_name("lungs.onnx"))


@pytest.fixture(scope="session")
def plain_model_file(model_file: Path) -> Path:
    """The tiny model without operating points."""
    from support.small_models import with_metadata

    return with_metadata(model_file, model_file.with_name("plain.onnx"), operating_points=())


@pytest.fixture(scope="session")
def mapless_model_file(model_file: Path) -> Path:
    """The tiny model without an activation map."""
    from support.small_models import without_map

    return without_map(model_file, model_file.with_name("mapless.onnx"))


@pytest.fixture(scope="session")
def predictor(model_file: Path):
    """The tiny model, loaded."""
    from covidcxr.prediction.predictor import Predictor

    return Predictor.load(model_file)


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory):
    """A small data set: see support.small_manifest."""
    from support.small_manifest import write_records

    return write_records(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """One Chromium for all tests of a process, which can run one Playwright only."""
    path = program("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER)
        yield browser
        browser.close()
