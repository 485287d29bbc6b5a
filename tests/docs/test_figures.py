import re

import pytest
import write_figures
from jinja2 import UndefinedError

from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.verdict import Audit


@pytest.mark.parametrize("page", write_figures.PAGES, ids=lambda page: page.name)
def test_every_page_is_as_rendered(page):
    text = page.read_text("utf-8")
    assert write_figures.rendered(text) == text


def test_every_template_is_in_a_page_and_every_block_has_an_end():
    text = "".join(page.read_text("utf-8") for page in write_figures.PAGES)
    blocks = [found["name"] for found in write_figures.BLOCK.finditer(text)]
    assert set(blocks) == {name.removesuffix(".md.jinja") for name in write_figures.FIGURES.list_templates()}
    assert len(blocks) == text.count("\n<!-- figures: ") == text.count("\n<!-- end -->\n")


def test_an_edited_figure_would_be_noticed():
    text = (write_figures.ROOT / "README.md").read_text("utf-8")
    edited, edits = re.subn(r" % \(", " % (1", text, count=1)
    assert edits
    assert write_figures.rendered(edited) == text


def test_a_missing_number_is_an_error():
    with pytest.raises(UndefinedError):
        write_figures.FIGURES.from_string("{{ load('benchmarks/speed.json').no_such_number }}").render()


def test_the_figures_are_those_of_the_shipped_model():
    predictor = Predictor.load()
    assert write_figures.report("held-out")["model"] == predictor.model
    assert write_figures.load("docs/results/gate.json")["model"] == predictor.model
    assert Audit.from_dict(write_figures.load("docs/results/audit-default.json")["audit"]) == predictor.artifact.audit
    assert len(predictor.artifact.gate) == 5
