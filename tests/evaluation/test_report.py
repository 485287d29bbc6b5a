import json
from importlib.resources import files

import pytest

from covidcxr.evaluation.report import render
from covidcxr.labels import Protocol


@pytest.mark.parametrize("protocol", Protocol)
def test_the_shipped_report_of_every_protocol_is_a_page(protocol):
    path = files("covidcxr") / "assets" / "results" / f"{protocol}.json"
    report = json.loads(path.read_text("utf-8"))
    assert f"<h1>{report['title']}</h1>" in render(report, {})
