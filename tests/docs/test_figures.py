import importlib.util
from pathlib import Path

import pytest

from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.verdict import Audit

ROOT = Path(__file__).parents[2]


def script():
    spec = importlib.util.spec_from_file_location("write_figures", ROOT / "scripts" / "write_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", script().PAGES)
def test_every_figure_stands_as_the_command_writes_it(page):
    text = (ROOT / page).read_text("utf-8")
    assert "<!-- figures:" in text
    assert script().filled(text) == text


def test_an_edited_figure_would_be_noticed():
    text = (ROOT / "README.md").read_text("utf-8")
    assert "%" in text
    edited = text.replace(" % (", " % (1", 1)
    assert script().filled(edited) != edited


def test_the_audit_and_the_gate_are_those_of_the_shipped_model():
    predictor = Predictor.default()
    assert Audit.from_dict(script().load("docs/results/audit-default.json")["audit"]) == predictor.artifact.audit
    assert script().load("docs/results/gate.json")["model"] == predictor.model
    assert len(predictor.artifact.gate) == 5


def test_the_figures_are_those_of_the_shipped_model():
    assert script().packaged("P5")["model"] == Predictor.default().model
