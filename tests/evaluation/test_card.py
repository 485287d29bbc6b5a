import json
import re
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

from covidcxr.cli import cli
from covidcxr.data.sources import SOURCES
from covidcxr.errors import ArtifactError
from covidcxr.evaluation.card import PREVALENCE, read_reports, render_card
from covidcxr.evaluation.report import TITLES
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.labels import LABELS, PointName, Protocol
from covidcxr.prediction.artifact import Artifact, OperatingPoint
from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.predictor import Predictor
from support.small_recipes import small_recipe

ROOT = Path(__file__).parents[2]
MODEL, OTHER = "covidcxr-small@aaaaaaaaaaaa", "covidcxr-small@bbbbbbbbbbbb"
POINT = OperatingPoint(
    name=PointName.SCREENING,
    threshold=0.125,
    sensitivity=0.9,
    sensitivity_interval=(0.8, 1.0),
    specificity=0.9,
    specificity_interval=(0.8, 1.0),
    images=77,
    groups=66,
)
HEADINGS = [  # Mitchell et al. 2019, figure 1
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]


def e(value):
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def pair(covid, normal, auroc):
    test = {"covid": {"n": 31, "patients": 29}, "normal": {"n": 43, "patients": 41}}
    by_view = [{"view": "PA", "test": test, "auroc": e(0.61)}]
    figures = {"auroc": e(auroc), "thumbnail_auroc": e(0.58), "by_view": by_view}
    return {"covid": covid, "normal": normal, "test": test, "training_images": 900, **figures}


def held_out():
    names = ("sensitivity", "specificity", "ppv", "auroc")
    figures = {f"{name}_{label}": e(0.8) for name in names for label in LABELS}
    rows = {"nih": (60, 0.71), "kermany": (80, 0.93), "figure1": (3, 0.3)}
    return {
        "protocol": "held-out",
        "model": MODEL,
        "training_images": 1234,
        "data": {
            "n": 143,
            "patients": 120,
            "by_label": {label: {"n": 40 + index, "patients": 30 + index} for index, label in enumerate(LABELS)},
            "images": [
                {"source": "kermany", "label": "normal", "n": 37},
                {"source": "kermany", "label": "pneumonia", "n": 43},
                {"source": "nih", "label": "covid", "n": 60},
            ],
        },
        "metrics": figures
        | {"sensitivity_pneumonia": e(0.52), "macro_f1": e(0.77), "accuracy": e(0.79), "calibration_error": e(0.07)},
        "controls": {
            "thumbnail": {"macro_f1": e(0.62), "accuracy": e(0.64)},
            "source_oracle": {"macro_f1": e(0.41), "accuracy": e(0.42)},
        },
        "confusion": {"labels": LABELS, "rows_true_columns_predicted": [[38, 1, 1], [9, 30, 2], [3, 4, 35]]},
        "by_source": [{"value": v, "n": n, "patients": n - 1, "accuracy": e(a)} for v, (n, a) in rows.items()],
        "by_view": [{"value": v, "n": 70, "patients": 60, "accuracy": e(a)} for v, a in (("PA", 0.66), ("AP", 0.88))],
    }


def all_reports():
    data = {"n": 70, "patients": 52, "images": [{"source": "kermany", "label": "normal", "n": 70}]}
    classic = {"model": "covidcxr-classic@cccccccccccc", "data": data}
    external = {"auroc": e(0.74), "sensitivity": e(0.6), "specificity": e(0.8)}
    views = [
        {"view": "AP", "covid": 30, "normal": 8, "n": 38, "patients": 35, "auroc": e(0.69)},
        {"view": "PA", "covid": 0, "normal": 32, "n": 32, "patients": 17},
    ]
    shown = ("thumbnail_accuracy", "source_oracle_accuracy", "healthy_adults_called_covid")
    return {
        "classic": {
            "protocol": "classic",
            **classic,
            "metrics": {"accuracy": e(0.94)},
            "published": {"accuracy": 0.96},
        },
        "controls": {
            "protocol": "controls",
            **classic,
            "metrics": dict.fromkeys(shown, e(0.9)),
            "healthy_adults": data,
        },
        "unseen-hospitals": {
            "protocol": "unseen-hospitals",
            "model": "recipe small, trained once for every pair",
            "metrics": {"mean_auroc": e(0.8), "worst_auroc": e(0.7)},
            "pairs": [pair("covid-cxnet", "nih", 0.9), pair("covid-cxnet", "kermany", 0.7)],
        },
        "external": {
            "protocol": "external",
            "model": MODEL,
            "says": "One hospital.",
            "data": data,
            "metrics": external,
            "rows": views,
        },
        "held-out": held_out(),
    }


def contract(**changes):
    values = {
        "name": "covidcxr-small",
        "version": "0.1.0",
        "labels": LABELS,
        "preprocessing": Preprocessing(size=224, crop=0.9, equalize=True, blur=1.5),
        "recipe": small_recipe(labels=list(LABELS), folds=4),
        "data_hash": "d" * 64,
        "created": "2026-01-02",
        "licence": "Apache-2.0 and more",
        "intended_use": "Research only.",
        "temperature": 1.25,
        "operating_points": (POINT,),
    }
    return Artifact(**values | changes)


def card(without=(), **changes):
    reports = {name: report for name, report in all_reports().items() if name not in without}
    return render_card(contract(**changes), MODEL, reports)


def section(text, heading):
    return re.split(rf"^##+ {re.escape(heading)}.*\n", text, flags=re.MULTILINE)[1].split("\n##")[0]


def test_headings_are_those_of_the_paper():
    assert re.findall(r"^## (.*)$", card(), re.MULTILINE) == HEADINGS


def test_it_tells_what_the_file_carries():
    details = section(card(), "Model details")
    for told in (MODEL, "0.1.0", "2026-01-02", "normal, pneumonia, covid", "90 %", "224 x 224", "1.5 pixels", "1.250"):
        assert told in details
    assert "d" * 64 in details
    assert "Apache-2.0 and more" in details
    assert small_recipe(labels=list(LABELS), folds=4).strip() in details
    assert "none: the most probable class" in section(card(operating_points=()), "Model details")
    assert "Research only." in section(card(), "Intended use")


def test_sources_come_with_licence_and_citation():
    for source in SOURCES.values():
        part = section(card(), "Evaluation data" if source.external else "Training data")
        assert source.licence in part
        assert source.citation in part
    only = small_recipe(labels=["normal"]).replace('label = "normal"', 'label = "normal", sources = ["nih"]')
    part = section(card(without=("held-out",), recipe=only, labels=LABELS[:1], operating_points=()), "Training data")
    assert SOURCES["nih"].citation in part
    assert SOURCES["kermany"].citation not in part


def test_it_says_where_the_model_fails():
    fails = section(card(), "Where it fails")
    assert "finds only 52.0 % (47.0 to 57.0) of the pneumonia images (41 images of 31 patients, held-out)" in fails
    assert "worst on nih, with 71.0 % (66.0 to 76.0) right (60 images of 59 patients" in fails  # figure1 has 3
    assert "worst on PA, with 66.0 % (61.0 to 71.0)" in fails
    assert "macro F1 of 62.0 % (57.0 to 67.0); the model achieves 77.0 %" in fails
    assert "COVID-19 of covid-cxnet against normal of kermany, with an AUROC of 0.700 (0.650 to 0.750)" in fails
    assert "31 images of 29 patients and 43 images of 41 patients" in fails
    assert "37 normal and 43 pneumonia images of these children" in fails
    assert "say nothing about a new hospital" in card()


def test_the_images_of_unseen_hospitals_count_once():
    """Two pairs of one COVID-19 source and two normal ones."""
    assert "On 117 images of 111 patients in 2 pairs" in section(card(), "Unseen hospitals")


def test_ppv_at_the_prevalence_for_every_rule():
    rows = [line for line in section(card(), "What a positive answer").splitlines() if line.startswith("| ")][2:]
    assert PREVALENCE == 0.05
    assert "| 77 (66) | 90.0 % (80.0 to 100.0) | 90.0 % (80.0 to 100.0) | 32.1 % (17.4 to 100.0) |" in rows[0]
    assert "| 143 (120) | 80.0 % (75.0 to 85.0) | 80.0 % (75.0 to 85.0) | 17.4 % (13.6 to 23.0) |" in rows[1]
    assert "| 70 (52) | 60.0 % (55.0 to 65.0) |" in rows[2]
    worthless = {**POINT.__dict__, "sensitivity": 0.0, "specificity": 1.0}
    assert "| not defined |" in card(operating_points=(OperatingPoint(**worthless),))
    nothing = card(without=("external", "held-out"), operating_points=())
    assert "**Not measured**: the file has no operating points" in nothing


@pytest.mark.parametrize("protocol", Protocol)
def test_a_protocol_without_a_report_is_named(protocol):
    text = card(without=(protocol,))
    assert f"| {TITLES[protocol]} | **not measured** |" in text
    assert f"**Not measured** for this model: {protocol}." in text
    assert not re.search(r"\*\*[Nn]ot measured\*\*( \|| for)", card())


def test_tables_have_as_many_cells_in_every_row():
    for text in (card(), card(without=list(Protocol))):
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            lines = block.splitlines()
            assert len(lines) > 2
            assert len({line.count("|") for line in lines}) == 1
            assert set(lines[1]) <= set("| -")
        assert not re.search(r"\n{4}|[ \t]\n", text)


@pytest.mark.parametrize("protocol", ["external", "held-out"])
def test_a_report_of_another_model_file_is_refused(protocol):
    reports = all_reports()
    reports[protocol]["model"] = OTHER
    with pytest.raises(ArtifactError, match=f"Expected a report of {protocol} of {MODEL}.*{OTHER}"):
        render_card(contract(), MODEL, reports)


def test_unseen_hospitals_of_another_recipe_is_refused():
    reports = all_reports()
    reports["unseen-hospitals"]["model"] = "recipe large, trained once for every pair"
    with pytest.raises(ArtifactError, match=r"recipe small.*recipe large"):
        render_card(contract(), MODEL, reports)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"protocol": "external"}'])
def test_a_file_that_is_no_report_of_its_protocol_is_refused(tmp_path, content):
    (tmp_path / "held-out.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"held-out\.json"):
        read_reports(tmp_path)


def test_the_command_writes_the_card(model_file, tmp_path):
    proto = onnx.load(model_file)
    onnx.helper.set_model_props(proto, contract().to_metadata())
    onnx.save(proto, tmp_path / "model.onnx")
    model = Predictor.load(tmp_path / "model.onnx").model
    for protocol in ("unseen-hospitals", "held-out"):
        report = all_reports()[protocol]
        report["model"] = report["model"].replace(MODEL, model)
        (tmp_path / f"{protocol}.json").write_text(json.dumps(report))
    given = [str(tmp_path / "model.onnx"), "--reports", str(tmp_path), "--out", str(tmp_path / "card.md")]
    result = CliRunner().invoke(cli, ["card", *given], catch_exceptions=False)
    assert result.exit_code == 0
    assert "(not measured: classic, controls, external)" in result.output
    assert (tmp_path / "card.md").read_text().startswith(f"# Model card: {model}\n")


def test_the_card_of_the_shipped_model_stands_as_the_command_writes_it():
    shipped = Predictor.load()
    text = render_card(shipped.artifact, shipped.model, read_reports(ROOT / "src" / "covidcxr" / "assets" / "results"))
    written = ROOT / "docs" / "model-card.md"
    if not written.exists():
        pytest.skip("docs/model-card.md is written by 'make publish'")
    assert written.read_text("utf-8") == text


def test_sets_and_selective_accuracy_are_shown_where_they_were_measured():
    reports = all_reports()
    assert "answered" not in card()
    shares = {"sets_of_one_class": e(0.44), "sets_of_all_classes": e(0.11), "empty_sets": e(0.06)}
    measured = {f"coverage_{label}": e(0.87) for label in LABELS} | {"mean_set_size": e(1.6)} | shares
    reports["held-out"]["prediction_sets"] = {"coverage": 0.9, "metrics": measured}
    reports["held-out"]["selective"] = [{"answered": share, "accuracy": e(0.83)} for share in (1.0, 0.5)]
    text = section(render_card(contract(), MODEL, reports), "Held-out")
    assert "87.0 % (82.0 to 92.0) of the covid images" in text
    assert "one class for 44.0 %" in text
    assert "| 50 % | 83.0 % (78.0 to 88.0) |" in text


def test_the_patients_behind_prediction_sets_are_counted():
    assert "prediction sets" not in card()
    thresholds = {"thresholds": (0.2, 0.1, 0.3), "images": (155, 50, 117)}
    conformal = Conformal(coverage=0.9, **thresholds, scores=(0.0,), low=(0.0,), high=(1.0,))
    assert "322 patients (155 normal, 50 pneumonia, 117 covid)" in card(conformal=conformal)
