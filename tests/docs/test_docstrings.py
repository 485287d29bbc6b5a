import doctest
import importlib
from pathlib import Path

import pytest

import covidcxr

PACKAGE = Path(covidcxr.__file__).parent
WITH_EXAMPLES = [
    ".".join(("covidcxr", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in path.read_text("utf-8")
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_in_docstrings_give_what_they_say(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_there_are_examples():
    assert {"covidcxr.prediction.predictor", "covidcxr.evaluation.metrics", "covidcxr.images.phantom"} <= set(
        WITH_EXAMPLES
    )
