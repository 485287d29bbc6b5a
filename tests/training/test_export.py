import csv
from contextlib import contextmanager

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tensorflow as tf

from covidcxr.errors import ArtifactError
from covidcxr.images.decode import read_image
from covidcxr.labels import LABELS, Label, PointName
from covidcxr.prediction.artifact import ACTIVATION_MAP, INPUT, PROBABILITIES
from covidcxr.prediction.predictor import Predictor
from covidcxr.training.calibration import calibrate, tempered
from covidcxr.training.export import TOLERANCE, convert, export, parity, save_checked, serving_model
from covidcxr.training.fit import VALIDATION, load_run, train
from covidcxr.training.networks import build
from support.small_networks import few_blocks
from support.small_recipes import small_recipe

pytestmark = pytest.mark.slow

THREE = small_recipe(
    architecture="efficientnet_lite0",
    labels=["normal", "pneumonia", "covid"],
    size=64,
    phases='{ trainable = "head", epochs = 1, learning_rate = 1e-2 }',
)


@pytest.fixture(scope="module")
def run(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "run"
    with few_blocks():
        train(records, THREE, out)
    export(out, out.with_suffix(".onnx"))
    return out


@pytest.fixture(scope="module")
def loaded(run):
    """Network and recipe of the run."""
    return load_run(run)


def test_the_file_carries_the_whole_contract(run):
    predictor = Predictor.load(run.with_suffix(".onnx"))
    artifact = predictor.artifact
    assert artifact.labels == LABELS
    assert artifact.recipe == THREE
    assert artifact.preprocessing.size == 64
    assert artifact.name == "covidcxr-small"
    assert len(artifact.data_hash) == 64


@pytest.mark.parametrize("batch", [1, 7])
def test_the_file_equals_keras(run, loaded, batch):
    serving = serving_model(loaded[0])
    session = ort.InferenceSession(run.with_suffix(".onnx"))
    images = np.random.default_rng(5).integers(0, 256, (batch, 64, 64, 1), np.uint8)
    expected = serving(images, training=False)
    probabilities, maps = session.run([PROBABILITIES, ACTIVATION_MAP], {INPUT: images})
    assert probabilities.shape == (batch, 3)
    assert maps.shape == (batch, 2, 2, 3)
    assert np.abs(probabilities - expected[PROBABILITIES]).max() <= TOLERANCE
    assert np.abs(maps - expected[ACTIVATION_MAP]).max() <= TOLERANCE * max(1, np.abs(maps).max())


def test_served_predictions_equal_training_side(run, loaded, records):
    """The predictor on the file and Keras on the training pipeline's images give the same numbers."""
    from covidcxr.training.batches import load_images

    model, recipe = loaded
    expected = np.asarray(model(load_images(records[:6], recipe.preprocessing), training=False))
    predictions = Predictor.load(run.with_suffix(".onnx")).predict_many([read_image(r.path) for r in records[:6]])
    received = [[prediction.probabilities[label] for label in LABELS] for prediction in predictions]
    assert np.abs(np.array(received) - expected).max() <= TOLERANCE


def test_the_map_is_gradient_class_activation_mapping_up_to_scale(loaded, records):
    """Oracle: Grad-CAM (Selvaraju et al. 2017) of the class score, by automatic differentiation."""
    model, recipe = loaded
    maps = serving_model(model)
    features_of = keras.Model(model.input, model.get_layer("pool").input)
    kernel, bias = model.get_layer("head").get_weights()
    image = recipe.preprocessing(read_image(records[2].path))[np.newaxis, ..., np.newaxis]
    for index in range(len(LABELS)):
        with tf.GradientTape() as tape:
            features = features_of(image, training=False)
            tape.watch(features)
            score = (tf.reduce_mean(features, axis=(1, 2)) @ kernel + bias)[0, index]
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2))
        oracle = tf.reduce_sum(features * weights[:, None, None, :], axis=-1).numpy()
        received = maps(image, training=False)[ACTIVATION_MAP].numpy()[..., index]
        places = oracle[0].size
        assert oracle.any()
        assert received == pytest.approx(oracle * places + bias[index], abs=1e-4)
        assert received.mean() == pytest.approx(float(score), abs=1e-4)


def test_a_network_without_pooling_has_probabilities_of_both_classes_and_no_map(records, monkeypatch, tmp_path):
    monkeypatch.setattr("covidcxr.training.fit._fit", lambda *_: None)  # random weights will do
    train(records, small_recipe(), tmp_path / "run")
    export(tmp_path / "run", tmp_path / "model.onnx")
    prediction = Predictor.load(tmp_path / "model.onnx").predict(read_image(records[0].path))
    assert list(prediction.probabilities) == [Label.NORMAL, Label.COVID]
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.activation_map is None


def test_a_file_that_differs_is_noticed(run, monkeypatch, tmp_path):
    with few_blocks():
        other = serving_model(build("efficientnet_lite0", size=64, classes=3, weights=None, dropout=0))
    assert parity(other, run.with_suffix(".onnx"), size=64) > TOLERANCE
    monkeypatch.setattr("covidcxr.training.export.convert", lambda *_: onnx.load(run.with_suffix(".onnx")))
    monkeypatch.setattr("covidcxr.training.export.TOLERANCE", -1.0)
    with pytest.raises(ArtifactError, match="equal Keras"):
        export(run, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_gives_no_numbers_is_noticed(tmp_path):
    """Also where Keras gives none either, so that both are the same."""
    model = build("seed_cnn", size=32, classes=2, weights=None, dropout=0)
    sound = serving_model(model)
    model.layers[-1].set_weights([weights * np.nan for weights in model.layers[-1].get_weights()])
    broken = serving_model(model)
    folder = tmp_path / "made" / "by"  # what saves the file
    files = {name: folder / f"{name}.onnx" for name in ("sound", "broken")}
    save_checked(convert(sound, 32), sound, files["sound"], size=32, tolerance=TOLERANCE)
    with pytest.raises(ArtifactError, match="Received a difference of inf"):
        save_checked(convert(broken, 32), broken, files["broken"], size=32, tolerance=TOLERANCE)
    assert list(folder.iterdir()) == [files["sound"]]
    assert parity(broken, files["sound"], size=32) == np.inf


@pytest.fixture(scope="module")
def calibrated(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("calibrated") / "run"
    with few_blocks():
        train(records, THREE.replace("validation_folds = 0", "validation_folds = 3"), out)
    with few_are_enough():
        export(out, out.with_suffix(".onnx"))
    return out


@contextmanager
def few_are_enough():
    """The synthetic patients are few: here as few as there are make a class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("covidcxr.training.calibration.FEWEST", 1)
        yield


def test_the_temperature_of_the_validation_groups_is_in_the_graph(calibrated, records):
    predictor = Predictor.load(calibrated.with_suffix(".onnx"))
    temperature = predictor.artifact.temperature
    assert abs(temperature - 1) > 0.01, "a test of nothing"
    with (calibrated / VALIDATION).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    path = {record.id: record.path for record in records}
    predictions = predictor.predict_many([read_image(path[row["id"]]) for row in rows])
    received = np.array([list(prediction.probabilities.values()) for prediction in predictions])
    untempered = np.array([[float(row[label]) for label in LABELS] for row in rows])
    assert np.abs(received - tempered(untempered, temperature)).max() <= TOLERANCE
    screening, balanced = predictor.artifact.operating_points
    assert (screening.name, balanced.name) == (PointName.SCREENING, PointName.BALANCED)
    assert screening.images == screening.groups == len(rows)
    covid = received[[is_covid(row) for row in rows], LABELS.index(Label.COVID)]
    assert np.mean(covid >= screening.threshold) == screening.sensitivity >= 0.95


def test_the_file_carries_the_sets_and_intervals_of_its_validation_groups(calibrated, records):
    predictor = Predictor.load(calibrated.with_suffix(".onnx"))
    with few_are_enough():
        assert predictor.artifact.conformal == calibrate(calibrated / VALIDATION).conformal is not None
    prediction = predictor.predict(read_image(records[0].path))
    assert set(prediction.prediction_set) <= set(LABELS)
    low, high = prediction.interval
    assert 0 <= low < high <= 1


def is_covid(row):
    return row["y_true"] == Label.COVID


def test_without_validation_groups_nothing_is_added(run):
    artifact = Predictor.load(run.with_suffix(".onnx")).artifact
    assert not (run / VALIDATION).exists()
    assert (artifact.temperature, artifact.operating_points, artifact.conformal) == (1.0, (), None)


@pytest.mark.parametrize("architecture", ["efficientnet_lite0", "seed_cnn"])
def test_the_serving_model_divides_the_scores_by_the_temperature(architecture):
    """With softmax and with a sigmoid; and the map keeps its mean, the score before softmax."""
    with few_blocks():
        model = build(architecture, size=64, classes=2, weights=None, dropout=0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 64, 64, 1), np.uint8)
    model.layers[-1].set_weights([rng.normal(0, 0.5, weights.shape) for weights in model.layers[-1].get_weights()])
    before = serving_model(model)(images, training=False)[PROBABILITIES].numpy()
    outputs = serving_model(model, temperature=2.5)(images, training=False)
    after = outputs[PROBABILITIES].numpy()
    assert np.abs(before - after).max() > 1e-3
    assert after == pytest.approx(tempered(before.astype(np.float64), 2.5), abs=1e-5)
    assert np.array_equal(serving_model(model)(images, training=False)[PROBABILITIES], before), (
        "the model is left alone"
    )
    if ACTIVATION_MAP in outputs:
        scores = outputs[ACTIVATION_MAP].numpy().mean(axis=(1, 2))
        assert tempered(np.exp(scores.astype(np.float64)), 1) == pytest.approx(after, abs=1e-5)


def test_order_of_labels_is_that_of_the_columns(run, records):
    predictor = Predictor.load(run.with_suffix(".onnx"))
    prediction = predictor.predict(read_image(records[0].path))
    assert list(prediction.probabilities) == [Label.NORMAL, Label.PNEUMONIA, Label.COVID]
