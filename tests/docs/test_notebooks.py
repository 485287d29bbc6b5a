import os
import shutil
import subprocess
from pathlib import Path
from zlib import crc32

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from covidcxr.data.sources import SOURCES

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
SCRIPTS = sorted(NOTEBOOKS.glob("[0-9]*.py"))
CELL_S = 1800
"""A cell on machines whose cores are shared; on two idle ones a whole notebook takes less than 300 s."""
SHARE = "0.4"
"""What notebooks/common.py calls SHARE: enough for every claim that a notebook asserts."""
KEPT = 3
"""Of every five images, the notebooks read this many in tests."""
WHOLE = {SOURCES[name].folder for name in ("covid-chestxray", "kermany")}
"""Folders of which they read all images: fewer are not enough for the published accuracy."""


@pytest.fixture(scope="session")
def collections(data_root, tmp_path_factory):
    """The collections, most of them with KEPT of every five images, like a partial download."""
    root = tmp_path_factory.mktemp("collections")
    for path in data_root.rglob("*"):
        name = path.relative_to(data_root)
        kept = path.suffix == ".csv" or name.parts[0] in WHOLE or crc32(path.name.encode()) % 5 < KEPT
        if path.is_file() and kept:
            link = root / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    return root


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A folder for what notebooks leave, so that the pictures are read once; ``COVIDCXR_WORK`` keeps it."""
    return Path(os.environ.get("COVIDCXR_WORK") or tmp_path_factory.mktemp("notebooks"))


def execute(script):
    """Run a notebook from a clean kernel; return it with its output."""
    notebook = jupytext.read(script)
    client = NotebookClient(
        notebook, timeout=CELL_S, kernel_name="python3", resources={"metadata": {"path": str(script.parent)}}
    )
    return client.execute()


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::DeprecationWarning:zmq")
def test_a_notebook_runs_from_a_clean_kernel(script, collections, work, monkeypatch):
    monkeypatch.setenv("COVIDCXR_DATA", str(collections))
    monkeypatch.setenv("COVIDCXR_WORK", str(work))
    monkeypatch.setenv("COVIDCXR_NOTEBOOKS_SHARE", SHARE)
    notebook = execute(script)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert not (work / "collections" / "actualmed").exists()


def test_there_are_five_each_with_two_or_three_questions():
    assert [script.stem[:2] for script in SCRIPTS] == ["01", "02", "03", "04", "05"]
    for script in SCRIPTS:
        last = jupytext.read(script).cells[-1].source
        assert 2 <= sum(line[:2] in ("1.", "2.", "3.") for line in last.partition("## Questions")[2].splitlines()) <= 3


def kept_output(root):
    """Return the files that git would keep and that hold what a notebook put out, which is pictures of patients."""
    command = ["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return {
        name for name in names if name.endswith(".ipynb") or name.startswith(("notebooks/work/", "docs/notebooks/"))
    }


def test_no_output_is_kept():
    if not (ROOT / ".git").exists():
        pytest.skip("not in a git repository")
    assert not kept_output(ROOT)


def test_output_that_is_kept_would_be_noticed(tmp_path):
    """Neither the rules of this repository nor the search may miss a file that a notebook leaves."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    left = {"notebooks/01-data.ipynb", "notebooks/work/manifest.csv", "docs/notebooks/01-data.ipynb"}
    for name in left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert kept_output(tmp_path) == left
    for name in (".gitignore", "notebooks/.gitignore", "docs/.gitignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    assert not kept_output(tmp_path)


def test_the_external_hospital_is_named_only_to_leave_it_out():
    for path in NOTEBOOKS.glob("*.py"):
        assert "actualmed" not in path.read_text("utf-8")


@pytest.mark.slow
def test_a_broken_notebook_would_be_noticed(tmp_path):
    from nbclient.exceptions import CellExecutionError

    script = tmp_path / "01-wrong.py"
    jupytext.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("assert 1 + 1 == 3")]), script)
    with pytest.raises(CellExecutionError):
        execute(script)
