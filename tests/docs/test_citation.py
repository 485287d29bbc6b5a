import datetime
import re
import tomllib
from pathlib import Path

import yaml

from covidcxr import __version__

ROOT = Path(__file__).parents[2]


def test_the_citation_fits_the_package():
    """What the schema of CFF 1.2.0 requires, and what must agree with the package."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["authors"]
    assert citation["version"] == __version__
    datetime.date.fromisoformat(citation["date-released"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert citation["license"] == project["license"]


def test_the_hooks_call_every_tool_of_make_check():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    called = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks if hook["language"] == "system"}
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[1]
    tools = set(re.findall(r"\$\(BIN\)/([\w-]+)", recipe))
    assert {"ruff", "mypy", "lint-imports"} <= tools <= called
