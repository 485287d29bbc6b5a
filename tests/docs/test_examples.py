import os
import re
from pathlib import Path

import pytest

from covidcxr.data.sources import SOURCES

DOCS = Path(__file__).parents[2] / "docs"
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(page, folder):
    """Run the Python of a page from top to bottom in a folder; return how many blocks there were."""
    blocks = PYTHON.findall((DOCS / page).read_text("utf-8"))
    names = {"__name__": page}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in blocks:
            exec(compile(block, page, "exec"), names)
    finally:
        os.chdir(before)
    return len(blocks)


def test_the_quick_start_runs(tmp_path, capsys):
    assert run("quickstart.md", tmp_path) == 2
    assert re.search(r"covid +0\.\d\d", capsys.readouterr().out)


@pytest.mark.slow
def test_a_collection_a_network_and_a_test_of_the_audit_are_added_as_the_page_says(tmp_path, capsys, monkeypatch):
    from covidcxr.training.networks import ARCHITECTURES

    monkeypatch.setitem(SOURCES, "northtown", None)  # what the page adds is taken away afterwards
    monkeypatch.setitem(ARCHITECTURES, "three_layers", None)
    assert run("extending.md", tmp_path) == 8
    said = capsys.readouterr().out
    assert "31 images, 30 groups" in said
    assert "From shuffled pixels, the model distinguishes COVID-19" in said


def test_a_page_that_is_wrong_would_be_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.DOCS", tmp_path)
    (tmp_path / "page.md").write_text("```python\nassert 1 + 1 == 3\n```\n", "utf-8")
    with pytest.raises(AssertionError):
        run("page.md", tmp_path)
