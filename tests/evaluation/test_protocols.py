import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from covidcxr.cli import cli
from covidcxr.data.manifest import Split, View, write_manifest
from covidcxr.errors import ManifestError, RecipeError
from covidcxr.evaluation.controls import source_oracle, thumbnail_classifier, thumbnails
from covidcxr.evaluation.protocols import evaluate
from covidcxr.evaluation.report import render
from covidcxr.labels import LABELS, Label, Protocol
from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.predictor import Predictor
from covidcxr.training.export import export
from covidcxr.training.fit import train
from support.small_recipes import small_recipe

CONFORMAL = Conformal(
    coverage=0.9, thresholds=(0.2, 0.0, 0.3), images=(20, 20, 20), scores=(0.0,), low=(0.0,), high=(1.0,)
)
LEARN = '{ trainable = "head", epochs = 12, learning_rate = 1e-2 }'


def trained(records, folder, **changes):
    recipe = small_recipe(architecture="efficientnet_lite0", size=96, phases=LEARN, **changes)
    recipe = recipe.replace("[augmentation]", 'weights = "imagenet"\n[augmentation]')
    train(records, recipe, folder / "run")
    export(folder / "run", folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def binary(records, tmp_path_factory):
    return trained(records, tmp_path_factory.mktemp("binary"))


@pytest.fixture(scope="module")
def three(records, tmp_path_factory):
    return trained(records, tmp_path_factory.mktemp("three"), labels=["normal", "pneumonia", "covid"], folds=4)


def test_p1_reports_what_the_predictor_says(records, binary):
    report, scores = evaluate(Protocol.CLASSIC, Predictor.load(binary), records)
    assert report["data"]["n"] == len(scores.records) == 10
    correct = scores.y_score.argmax(axis=1) == scores.y_true
    assert report["metrics"]["accuracy"]["value"] == pytest.approx(correct.mean())
    assert correct.mean() >= 0.8  # the opacities are plain to see
    assert sum(map(sum, report["confusion"]["rows_true_columns_predicted"])) == 10
    low, high = (report["metrics"]["accuracy"][end] for end in ("low", "high"))
    assert report["published_accuracy_in_interval"] == (low <= 0.96 <= high)


def test_p2_controls_see_what_the_collections_give_away(records, binary, tmp_path):
    """With the collection made to decide the label, the oracle is perfect, and so it says."""
    decided = [replace(r, source="nih" if r.label is Label.NORMAL else "kermany") for r in records]
    report, _ = evaluate(Protocol.CONTROLS, Predictor.load(binary), decided)
    assert report["metrics"]["source_oracle_accuracy"]["value"] == 1
    fair, _ = evaluate(Protocol.CONTROLS, Predictor.load(binary), records)
    assert fair["metrics"]["source_oracle_accuracy"]["value"] < 0.8
    assert 0 <= fair["metrics"]["healthy_adults_called_covid"]["value"] <= 1
    assert fair["healthy_adults"]["n"] == 10
    assert fair["thumbnail_splits"]["low"] <= fair["thumbnail_splits"]["mean"] <= fair["thumbnail_splits"]["high"]


def test_p5_through_the_command_line(records, three, tmp_path):
    write_manifest(records, tmp_path / "manifest.csv")
    given = [str(three), "--manifest", str(tmp_path / "manifest.csv"), "--out", str(tmp_path / "held-out")]
    result = CliRunner().invoke(cli, ["evaluate", "held-out", *given], catch_exceptions=False)
    assert result.exit_code == 0
    assert "macro f1" in result.output
    report = json.loads((tmp_path / "held-out" / "report.json").read_text())
    scores = pd.read_csv(tmp_path / "held-out" / "scores.csv")
    assert len(scores) == report["data"]["n"] == 15
    assert scores[list(LABELS)].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert {"sensitivity_covid", "ppv_pneumonia", "auroc_normal", "macro_f1"} <= set(report["metrics"])
    assert sum(row["n"] for row in report["by_source"]) == sum(row["patients"] for row in report["by_view"]) == 15
    assert report["data"]["by_label"] == {label: {"n": 5, "patients": 5} for label in LABELS}
    page = (tmp_path / "held-out" / "report.html").read_text()
    assert "Not a medical device" in page
    assert page.count("data:image/png;base64,") == 5
    assert "http://" not in page
    assert "https://" not in page
    assert [row["answered"] for row in report["selective"]] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
    assert report["selective"][0]["accuracy"] == report["metrics"]["accuracy"]
    assert "Accuracy when only the surest" in page
    assert "prediction_sets" not in report, "of too few patients to calibrate"
    assert "Prediction sets" not in page
    for plot in ("confusion", "roc", "precision_recall", "calibration", "selective"):
        assert (tmp_path / "held-out" / f"{plot}.png").stat().st_size > 5000


def test_p5_reports_the_sets_of_a_model_that_has_them(records, three):
    predictor = Predictor.load(three)
    predictor.artifact = replace(predictor.artifact, conformal=CONFORMAL)
    report, scores = evaluate(Protocol.HELD_OUT, predictor, records)
    covered = scores.y_score[scores.y_true == 2, 2] >= 0.3
    assert report["prediction_sets"]["coverage"] == 0.9
    assert report["prediction_sets"]["metrics"]["coverage_covid"]["value"] == pytest.approx(covered.mean())
    assert report["prediction_sets"]["metrics"]["coverage_pneumonia"]["value"] == 1
    page = render(report, {})
    assert "coverage covid" in page
    assert "the target is 90 %" in page


def test_p4_looks_at_the_external_set_and_notes_it(records, three, tmp_path):
    """The model was not trained on them: the test records stand in for the external hospital."""
    views = {0: View.AP, 1: View.PA}
    outside = [
        replace(r, split=Split.EXTERNAL, view=views[number % 2]) if r.split is Split.TEST else r
        for number, r in enumerate(records)
        if r.split is Split.TRAIN or r.label is not Label.PNEUMONIA
    ]
    write_manifest(outside, tmp_path / "manifest.csv")
    log = tmp_path / "log.csv"
    given = [str(three), "--manifest", str(tmp_path / "manifest.csv"), "--log", str(log)]
    for number in (1, 2):
        command = ["evaluate", "external", *given, "--out", str(tmp_path / "external")]
        result = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert result.exit_code == 0
        assert len(log.read_text().splitlines()) == 1 + number
    report = json.loads((tmp_path / "external" / "report.json").read_text())
    assert report["data"]["n"] == 10
    row = pd.read_csv(log).iloc[-1]
    assert row["model"] == Predictor.load(three).model
    assert row["auroc"] == pytest.approx(report["metrics"]["auroc"]["value"], abs=1e-4)
    assert {row["view"]: row["covid"] + row["normal"] for row in report["rows"]} == {"AP": 4, "PA": 6}
    alarm = report["metrics"]["auroc"]["value"] > 0.95
    assert ("an alarm, not a success" in (tmp_path / "external" / "report.html").read_text()) == alarm


def test_a_manifest_that_was_not_trained_on_is_refused(records, binary):
    moved = [replace(r, group="other") if r.patient_id == "p0" else r for r in records]
    with pytest.raises(ManifestError, match="may have seen its test images"):
        evaluate(Protocol.CLASSIC, Predictor.load(binary), moved)


def test_a_protocol_for_other_classes_is_refused(records, binary, three):
    with pytest.raises(RecipeError, match="three classes"):
        evaluate(Protocol.HELD_OUT, Predictor.load(binary), records)
    with pytest.raises(RecipeError, match="normal against covid"):
        evaluate(Protocol.CLASSIC, Predictor.load(three), records)


def test_source_oracle_gives_shares_and_falls_back_to_all(records):
    train_records = [r for r in records[:30] if r.source == "nih"]
    test_records = [replace(records[0], source="nih"), replace(records[1], source="unseen")]
    known, unseen = source_oracle(train_records, test_records, LABELS)
    expected = [np.mean([r.label is label for r in train_records]) for label in LABELS]
    assert known == pytest.approx(expected)
    assert unseen == pytest.approx(expected)


def test_thumbnails_are_the_whole_image_at_8_by_8(records):
    features = thumbnails(records[:5])
    assert features.shape == (5, 64)
    assert features.min() >= 0
    assert features.max() <= 1
    dark_and_bright = np.concatenate([features * 0.2, features])
    y_true = np.repeat([0, 1], 5)
    assert thumbnail_classifier(dark_and_bright, y_true).score(dark_and_bright, y_true) == 1
