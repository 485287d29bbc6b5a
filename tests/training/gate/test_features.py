"""From a run to a model file with a gate, and what its evaluation reports."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from covidcxr.audit.model import load_subject
from covidcxr.cli.gate import command
from covidcxr.data.collect import Reject, RejectReason, write_rejects
from covidcxr.data.manifest import Split, View, write_manifest
from covidcxr.errors import ArtifactError, RecipeError
from covidcxr.images.decode import read_image
from covidcxr.prediction.artifact import EMBEDDING, GATE
from covidcxr.prediction.flags import FlagCode
from covidcxr.prediction.predictor import Predictor
from covidcxr.training.export import TOLERANCE, export, serving_model
from covidcxr.training.fit import load_run, train
from covidcxr.training.gate import evaluation as gate_evaluation
from covidcxr.training.gate import features as gate_training
from covidcxr.training.gate import fit as gate_fit
from covidcxr.training.gate.evaluation import dicom_of_other_parts, evaluate_gate
from covidcxr.training.gate.features import GATE_FILE, kind_of, picture_features, rejected_views, rejects_of, train_gate
from covidcxr.training.gate.fit import ADULT, CODES, Gate
from covidcxr.training.networks import build
from support.small_networks import few_blocks
from support.small_recipes import small_recipe

pytestmark = pytest.mark.slow


def reject(number, path, view, source="nih"):
    """Return a picture that was left out for its view."""
    return Reject(
        source=source,
        path=path,
        reason=RejectReason.VIEW,
        detail="",
        finding="",
        view=view,
        patient_id=f"p{number}",
    )


@pytest.fixture(scope="module")
def manifest(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    origins = ("kermany", "a", "b", "c")
    people = [replace(record, origin=origins[index % 4]) for index, record in enumerate(records)]
    write_manifest(people, folder / "manifest.csv")
    views = []
    for number in range(20):
        path = folder / f"{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (200, 120), np.uint8)).save(path)
        views.append(reject(number, path, View.CT if number % 2 else View.LATERAL))
    write_rejects(views, rejects_of(folder / "manifest.csv"))
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def run(records, manifest, tmp_path_factory):
    """Return a run with a gate, exported beside it."""
    out = tmp_path_factory.mktemp("run") / "run"
    with few_blocks():
        train(records, recipe_of_few(), out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate_fit, "LEAST", 5)
        patch.setattr(gate_training, "DRAWN", 14)
        train_gate(out, manifest)
    export(out, out.with_suffix(".onnx"))
    return out


def recipe_of_few():
    phases = '{ trainable = "head", epochs = 1, learning_rate = 1e-2 }'
    labels = ["normal", "pneumonia", "covid"]
    return small_recipe(architecture="efficientnet_lite0", labels=labels, size=64, phases=phases)


def test_the_graph_gives_the_scores_that_the_thresholds_were_chosen_on(run, records):
    gate, predictor = Gate.load(run / GATE_FILE), Predictor.load(run.with_suffix(".onnx"))
    model, recipe = load_run(run)
    greys = [read_image(record.path) for record in records[:5]]
    images = np.stack([recipe.preprocessing(grey) for grey in greys])[..., np.newaxis]
    features = keras.Model(model.input, picture_features(model)).predict_on_batch(images)
    received = predictor.run(greys, [GATE])[GATE]
    assert received.shape == (5, len(CODES))
    assert received == pytest.approx(gate.scores(features), abs=10 * TOLERANCE)
    assert predictor.artifact.gate == gate.checks


def test_a_gate_changes_nothing_else(run, records):
    model, recipe = load_run(run)
    image = recipe.preprocessing(read_image(records[0].path))[np.newaxis, ..., np.newaxis]
    plain, gated = (serving_model(model, gate=gate)(image) for gate in (None, Gate.load(run / GATE_FILE)))
    assert set(gated) - set(plain) == {GATE}
    assert all(np.array_equal(gated[name], plain[name]) for name in plain)


def test_an_audit_takes_the_run_as_it_is(run, records):
    subject = load_subject(run)
    greys = [read_image(record.path) for record in records[:3]]
    outputs = subject.outputs(greys)
    exported = Predictor.load(run.with_suffix(".onnx")).run(greys, [EMBEDDING])[EMBEDDING]
    assert outputs.embedding == pytest.approx(exported, abs=10 * TOLERANCE)
    assert outputs.scores.sum(axis=1) == pytest.approx(1)
    assert outputs.maps.shape[-1] == 3
    np.testing.assert_array_equal(outputs.maps, subject.randomise(0.0).outputs(greys).maps)


def test_features_are_of_the_whole_picture_not_of_the_lungs():
    model = build("lung_pooled", size=64, classes=3, weights="imagenet", dropout=0)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1), np.uint8)
    features = keras.Model(model.input, picture_features(model))(images).numpy()
    assert features.shape == (2, 624)
    whole = [x for x in model.get_layer("inside").input if x.shape[-1] == 624]
    assert features == pytest.approx(keras.Model(model.input, whole[0])(images).numpy().mean(axis=(1, 2)), abs=1e-5)
    assert np.abs(features - serving_model(model)(images)[EMBEDDING].numpy()).max() > 1e-4


def test_a_network_that_pools_nothing_gets_no_gate():
    with pytest.raises(RecipeError, match="pools"):
        picture_features(build("seed_cnn", size=32, classes=2, weights=None, dropout=0))


@pytest.mark.parametrize(
    ("origin", "age", "kind"),
    [("kermany", None, FlagCode.CHILD), ("nih", 5.0, FlagCode.CHILD), ("nih", 6.0, None), ("nih", 18.0, ADULT)],
)
def test_who_counts_as_a_child(records, origin, age, kind):
    assert kind_of(replace(records[0], origin=origin, age=age)) == kind


def test_a_patient_is_on_one_side_and_external_collections_on_none(records, tmp_path):
    views = [reject(number // 2, tmp_path / "x.png", View.LATERAL) for number in range(100)]
    sides = [
        {row.patient_id for row in rejected_views(views, records, held_out=held_out)} for held_out in (False, True)
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 50
    assert 0 < len(sides[1]) < len(sides[0])
    external = [replace(records[0], source="other", split=Split.EXTERNAL)]
    elsewhere = [reject(number, tmp_path / "x.png", View.LATERAL, "other") for number in range(20)]
    assert not rejected_views(elsewhere, external, held_out=False)
    assert not rejected_views(elsewhere, external, held_out=True)


def test_the_evaluation_counts_what_is_declined(run, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(gate_evaluation, "DRAWN", 7)
    monkeypatch.setattr(gate_evaluation, "dicom_of_other_parts", list)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("L", (200, 200), 90).save(pictures / "uniform.png")
    (pictures / "broken.png").write_bytes(b"no picture")
    model = run.with_suffix(".onnx")
    options = [model, "--manifest", manifest, "--run", run, "--pictures", pictures, "--out", tmp_path]
    result = CliRunner().invoke(command, ["evaluate", *map(str, options)], catch_exceptions=False)
    report = json.loads((tmp_path / "gate.json").read_text("utf-8"))
    assert result.exit_code == 0
    assert "gate.json" in result.output
    groups = report["declined"]
    assert list(groups) == ["drawn", "pictures", "CT", "lateral", "child", "adult"]
    assert (groups["drawn"]["n"], groups["child"]["n"], groups["adult"]["n"]) == (7, 3, 12)
    uniform = groups["pictures"]
    assert (uniform["n"], uniform["not_decoded"], uniform["value"]) == (1, 1, 1.0)
    assert uniform["by_flag"] == {"uniform": 1.0}
    assert list(report["unseen_origins"]) == ["a", "b", "c"]
    unseen = report["unseen_origins"]["a"]
    assert unseen["low"] <= unseen["value"] == unseen["declined"] / unseen["n"] <= unseen["high"]
    assert report["training"]["not_a_chest_xray"] == 14


def test_a_model_without_a_gate_is_an_error(predictor, manifest):
    with pytest.raises(ArtifactError, match="without one"):
        evaluate_gate(predictor, manifest, run=None, pictures=None)


def test_dicom_objects_of_other_parts_are_no_radiographs():
    names = {path.name for path in dicom_of_other_parts()}
    assert {"CT_small.dcm", "MR_small.dcm"} <= names
