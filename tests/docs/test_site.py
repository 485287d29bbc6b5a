import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

DOCS = Path(__file__).parents[2] / "docs"
LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src"}
"""Elements whose file a browser fetches, and the attribute that names it."""
FETCHED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "manifest"}


class Page(HTMLParser):
    """What a page fetches, what it links to, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.links, self.anchors = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors.add(values.get("id"))
        if tag in LOADED and values.get(LOADED[tag]):
            self.fetched.add(values[LOADED[tag]])
        if tag == "link" and set((values.get("rel") or "").split()) & FETCHED_LINKS:
            self.fetched.add(values["href"])
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])


def build(source, out, **notebooks):
    """Build the site as docs/contributing.md says, warnings as errors."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(out)]
    environment = {k: v for k, v in os.environ.items() if k not in ("COVIDCXR_DOCS_NOTEBOOKS", "PYTHONPATH")}
    options = {"env": environment | notebooks, "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=source, check=False, **options)
    assert done.returncode == 0, done.stderr[-6000:]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole site, from a copy."""
    source, out = tmp_path_factory.mktemp("source") / "root", tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("_build", "reference", "__pycache__", "work", "*.onnx", "*.h5")
    for folder in ("docs", "notebooks", "src", "deploy", "research"):
        if (DOCS.parent / folder).is_dir():
            shutil.copytree(DOCS.parent / folder, source / folder, ignore=ignored)
    for file in DOCS.parent.iterdir():
        if file.is_file():
            shutil.copy(file, source)
    build(source, out)
    return out


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_site_is_whole_and_needs_no_other_host(site):
    pages = {path.relative_to(site): Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 50
    for name in (
        "index",
        "quickstart",
        "extending",
        "reference/covidcxr.prediction",
        "notebooks/03-break-it",
    ):
        assert Path(f"{name}.html") in pages
    foreign = {link for page in pages.values() for link in page.fetched if urlsplit(link).netloc}
    assert not foreign
    missing = set()
    for name, page in pages.items():
        for link in page.links | page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            target = (site / name).parent / unquote(parts.path)
            if not target.exists():
                missing.add((str(name), link))
            elif target.suffix == ".html" and parts.fragment:
                anchors = pages[target.resolve().relative_to(site.resolve())].anchors
                if unquote(parts.fragment) not in anchors:
                    missing.add((str(name), link))
    assert not missing
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:|@import ['\"]?https?:", sheet.read_text("utf-8")), sheet


@pytest.mark.slow
def test_docstrings_and_signatures_are_on_the_pages(site):
    text = (site / "reference" / "covidcxr.images.html").read_text("utf-8")
    assert "The conversion of a grey image to a network input" in text
    assert 'id="covidcxr.images.preprocessing.Preprocessing"' in text


@pytest.mark.slow
def test_every_command_has_its_help_on_the_page(site):
    page = Page((site / "commands.html").read_text("utf-8"))
    assert {"covidcxr-predict", "covidcxr-dicom-node", "covidcxr-web-export-static"} <= page.anchors


@pytest.mark.slow
def test_notebooks_are_shown_without_output(site):
    text = (site / "notebooks" / "02-classic-96-percent.html").read_text("utf-8")
    assert "split_parts" in text
    assert "cell_output" not in text


@pytest.mark.slow
def test_notebooks_run_while_the_site_is_built_if_that_is_asked_for(tmp_path):
    """A site of one page and one notebook, which imports what all of them do and says something on both streams."""
    notebook = tmp_path / "notebooks" / "01-small.py"
    for folder in ("docs", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "src" / "covidcxr").mkdir(parents=True)
    (tmp_path / "src" / "covidcxr" / "__init__.py").touch()
    shutil.copytree(DOCS / "static", tmp_path / "docs" / "static")
    for name in ("docs/conf.py", "docs/site_parts.py", "notebooks/common.py"):
        shutil.copy(DOCS.parent / name, tmp_path / name)
    (tmp_path / "docs" / "index.md").write_text(
        "# Small\n\n```{toctree}\n:glob:\n\nnotebooks/*\ncommands\nreference/modules\n```\n"
    )
    notebook.write_text(
        "# %% [markdown]\n# # Small\n\n# %%\nimport sys\n\nfrom common import CLASSIC\n\n"
        "print(len(CLASSIC) > 100, 6 * 7)\nprint('progress', 6 * 9, file=sys.stderr)\n"
    )
    build(tmp_path, tmp_path / "out", COVIDCXR_DOCS_NOTEBOOKS="force")
    page = (tmp_path / "out" / "notebooks" / "01-small.html").read_text("utf-8")
    assert "True 42" in page
    assert "progress 54" not in page
