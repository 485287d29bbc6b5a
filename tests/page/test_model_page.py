import re
from html.parser import HTMLParser

import pytest

from covidcxr.data.sources import SOURCES
from covidcxr.labels import Protocol
from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.verdict import Audit, Finding, Verdict
from covidcxr.web.app import create_app
from covidcxr.web.pages import pages
from covidcxr.web.pages.pages import reports
from support.small_models import with_metadata


class Anchors(HTMLParser):
    """Collects ids, and links to places on the page about the model."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(values["id"])
        target = values.get("href", "")
        if tag == "a" and "#" in target and target != "#main":
            self.links.add(target.removeprefix("/model"))


def read(predictor, address="/model"):
    answer = create_app(predictor).test_client().get(address)
    assert answer.status_code == 200
    return answer.text


def plain(text):
    """Return a page as a reader sees it: without tags, one space between words."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)).replace("&nbsp;", " ")


@pytest.fixture
def judged(model_file, tmp_path):
    findings = tuple(
        Finding(test=f"{verdict}_test", verdict=verdict, value=0.87, low=0.8, high=0.9, says=f"It came to {verdict}.")
        for verdict in Verdict
    )
    conformal = Conformal(coverage=0.85, thresholds=(0.3, 0.3, 0.4), images=(9, 9, 9), scores=(), low=(), high=())
    audit = Audit(date="2026-01-01", data_hash="0" * 64, findings=findings)
    return Predictor.load(with_metadata(model_file, tmp_path / "m.onnx", conformal=conformal, audit=audit))


def test_every_number_on_the_page_leads_to_its_explanation(judged):
    links = Anchors(read(judged, "/")).links
    explained = Anchors(read(judged))
    expected = {"#probabilities", "#prediction-set", "#interval", "#thresholds", "#predictive-values", "#audit"}
    assert expected | {"#activation-map", "#lung-share"} <= links
    assert links | explained.links <= {f"#{name}" for name in explained.ids}
    assert len(set(explained.ids)) == len(explained.ids)


def test_the_model_is_described_by_its_own_file(judged):
    text = plain(read(judged))
    artifact = judged.artifact
    assert judged.model in text
    assert artifact.intended_use in text
    assert "the middle 90 % of the width and height, resized to 224 x 224 grey pixels" in text.lower()
    assert "screening, 30.0 %" in text
    assert "96.0 % (80.0 to 99.0)" in text
    assert "for 85 % of the images of every class" in text
    assert "the interval need not contain the probability" in text


def test_every_test_of_the_audit_stands_there_with_its_figure(judged):
    text = plain(read(judged))
    for verdict, words in (("pass", "passed"), ("warn", "passed, with warnings"), ("fail", "not passed")):
        assert f"{verdict} test: {words} 0.87 (0.80 to 0.90) It came to {verdict}." in text


def test_models_without_audit_and_sets_say_so(predictor):
    text = plain(read(predictor))
    assert "This model file was never audited" in text
    assert "This model file contains no prediction sets." in text


def test_the_figures_come_from_the_package(predictor):
    assert set(reports()) == set(Protocol)
    text = plain(read(predictor))
    for report in reports().values():
        assert report["title"] in text
    found = reports()["unseen-hospitals"]["metrics"]["worst_auroc"]
    assert f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})" in text
    found = reports()["held-out"]["metrics"]["sensitivity_covid"]
    assert f"{100 * found['value']:.1f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})" in text


def test_every_column_has_a_header(predictor):
    headers = re.findall(r"<th [^>]*>(.*?)</th>", read(predictor))
    assert len(headers) > 20
    assert all(headers)


def test_figures_of_another_model_are_not_passed_off_as_this_ones(predictor):
    foreign = "This server uses another model."
    assert plain(read(predictor)).count(foreign) == 2  # external and held-out
    shipped = Predictor.load()
    assert (foreign in plain(read(shipped))) == (reports()["held-out"]["model"] != shipped.model)


def test_how_often_the_sets_held_the_true_class_is_told_of_this_model_only(judged, monkeypatch):
    coverage = {f"coverage_{label}": {"value": 0.87, "low": 0.82, "high": 0.92} for label in judged.artifact.labels}
    report = {**reports()["held-out"], "prediction_sets": {"coverage": 0.85, "metrics": coverage}}
    words = "it contained the true class for 87.0 % (82.0 to 92.0) of Normal,"
    monkeypatch.setattr(pages, "reports", lambda: {"held-out": report})
    assert words not in plain(read(judged))
    report["model"] = judged.model
    assert words in plain(read(judged))


def test_an_installation_without_reports_says_so(predictor, monkeypatch):
    monkeypatch.setattr(pages, "reports", dict)
    assert "This installation does not include the reports." in plain(read(predictor))


def test_every_collection_is_named_with_its_licence(predictor):
    text = plain(read(predictor))
    for source in SOURCES.values():
        assert f"{source.title}" in text
        assert f"Licence: {source.licence}" in text
    assert text.count("never used in training") == 1
