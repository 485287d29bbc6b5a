import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from covidcxr.audit.describe import Description, InputFormat, OutputKind, read_description
from covidcxr.audit.model import load_subject, shuffled_keras, write_audit
from covidcxr.audit.report import TESTS, audit_model
from covidcxr.cli import cli
from covidcxr.data.manifest import write_manifest
from covidcxr.errors import ArtifactError
from covidcxr.images.phantom import radiograph
from covidcxr.labels import Label
from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.verdict import Audit, Finding, Verdict

GREYS = [radiograph(np.random.default_rng(seed), size=(96, 80)) for seed in range(3)]
DESCRIPTION = """
labels = ["normal", "pneumonia", "covid"]
[preprocessing]
size = 224
[outputs]
map = "activation_map"
"""


def test_a_file_of_covidcxr_says_what_the_predictor_says(model_file, predictor):
    subject = load_subject(model_file)
    expected = [list(prediction.probabilities.values()) for prediction in predictor.predict_many(GREYS)]
    outputs = subject.outputs(GREYS)
    np.testing.assert_allclose(outputs.scores, expected, atol=1e-6)
    assert outputs.maps.shape == (3, 7, 7, 3)
    assert outputs.embedding is None


def test_shuffled_weights_change_the_map(model_file):
    subject = load_subject(model_file)
    before, after = (s.outputs(GREYS).maps for s in (subject, subject.randomise(1.0)))
    assert np.abs(before - after).max() > 0.1
    np.testing.assert_array_equal(before, subject.randomise(0.0).outputs(GREYS).maps)


@pytest.fixture
def foreign(model_file, tmp_path):
    """Somebody's ONNX file without a contract, of float input in 0..255."""
    proto = onnx.load(model_file)
    del proto.metadata_props[:]
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(proto, tmp_path / "foreign.onnx")
    (tmp_path / "foreign.toml").write_text(DESCRIPTION)
    return tmp_path / "foreign.onnx"


def test_anybodys_onnx_file_with_a_description(foreign):
    outputs = load_subject(foreign, foreign.with_suffix(".toml")).outputs(GREYS)
    assert outputs.scores.sum(axis=1) == pytest.approx(1)
    assert outputs.maps.shape == (3, 7, 7, 3)


def test_anybodys_file_without_a_description_is_an_error_with_its_name(foreign):
    with pytest.raises(ArtifactError, match=r"--describe .* Received .*foreign\.onnx"):
        load_subject(foreign)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[preprocessing]", "[other]", "preprocessing"),
        ('"covid"', '"flu"', "flu"),
        ("size = 224", 'size = "big"', "size"),
        ("size = 224", "size = 224\nchannels = 2", "channels"),
        ("size = 224", "size = 224\nstd = [0.0]", "std"),
        ("map =", "heat =", "outputs"),
    ],
)
def test_a_wrong_description_is_named(foreign, old, new, expected):
    path = foreign.with_suffix(".toml")
    path.write_text(DESCRIPTION.replace(old, new))
    with pytest.raises(ArtifactError, match=f"foreign.toml.*{expected}"):
        read_description(path)


def test_a_description_of_another_size_is_an_error(foreign):
    path = foreign.with_suffix(".toml")
    path.write_text(DESCRIPTION.replace("224", "100"))
    with pytest.raises(ArtifactError, match=r"foreign\.onnx to take the input"):
        load_subject(foreign, path).scores(GREYS)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_anybodys_keras_file_with_a_description(ending, tmp_path):
    import keras

    keras.utils.set_random_seed(0)
    inner = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((32, 32, 1)), *inner])
    path = tmp_path / f"theirs.{ending}"
    model.save(path)
    (tmp_path / "theirs.toml").write_text(DESCRIPTION.split("[outputs]")[0].replace("224", "32"))
    batch = np.stack([InputFormat(size=32)(grey) for grey in GREYS])
    outputs = load_subject(path, tmp_path / "theirs.toml").outputs(GREYS)
    np.testing.assert_allclose(outputs.scores, model(batch).numpy(), atol=1e-6)
    with pytest.raises(ArtifactError, match=rf"--describe .* Received .*theirs\.{ending}"):
        load_subject(path)
    path.write_bytes(b"no model")
    with pytest.raises(ArtifactError, match=rf"model file of Keras. Received .*theirs\.{ending}"):
        load_subject(path, tmp_path / "theirs.toml")


def test_shuffling_a_network_starts_at_its_output_and_spares_its_biases():
    import keras

    keras.utils.set_random_seed(0)
    inner = [keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(3, bias_initializer="uniform")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *inner])
    kernel, _, dense, bias = model.get_weights()
    half = shuffled_keras(model, 0.5).get_weights()
    np.testing.assert_array_equal(half[0], kernel)
    np.testing.assert_array_equal(half[3], bias)
    assert (half[2] != dense).any()
    np.testing.assert_array_equal(np.sort(half[2].ravel()), np.sort(dense.ravel()))
    assert (shuffled_keras(model, 1.0).get_weights()[0] != kernel).any()
    np.testing.assert_array_equal(model.get_weights()[2], dense)


def test_input_in_the_order_that_is_stated():
    made = InputFormat(size=8, channels=3, scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.5,), layout="NCHW")
    white = made(np.full((16, 16), 255, np.uint8))
    assert white.shape == (3, 8, 8)
    np.testing.assert_allclose(white[:, 0, 0], [1.0, 1.2, 1.4], rtol=1e-6)


@pytest.mark.parametrize(("positive", "expected"), [("covid", [0.25, 0.75]), ("normal", [0.75, 0.25])])
def test_a_single_column_is_the_positive_class(positive, expected):
    labels = (Label.NORMAL, Label.COVID)
    described = Description(labels=labels, preprocessing=InputFormat(size=8), positive=Label(positive))
    np.testing.assert_allclose(described.probabilities(np.array([[0.75]])), [expected])


def test_logits_become_probabilities_and_undeclared_ones_are_an_error():
    labels, values = (Label.NORMAL, Label.COVID), np.array([[0.0, np.log(3)]])
    described = Description(labels=labels, preprocessing=InputFormat(size=8), output=OutputKind.LOGITS)
    np.testing.assert_allclose(described.probabilities(values), [[0.25, 0.75]])
    with pytest.raises(ValueError, match="probabilities"):
        Description(labels=labels, preprocessing=InputFormat(size=8)).probabilities(values)


def test_the_verdict_is_written_into_a_copy(model_file, predictor, tmp_path):
    found = Finding(test="flip", verdict=Verdict.WARN, value=0.85, low=0.8, high=0.9, says="So so.")
    audit = Audit(date="2026-01-01", data_hash="0" * 64, findings=(found,))
    write_audit(model_file, audit, tmp_path / "audited.onnx")
    copy = Predictor.load(tmp_path / "audited.onnx")
    assert copy.artifact.audit == audit
    assert onnx.load(tmp_path / "audited.onnx").graph == onnx.load(model_file).graph
    assert predictor.artifact.audit is None


def test_a_headline_is_refused_where_the_collection_decides(shortcut, decided, monkeypatch):
    monkeypatch.setattr("covidcxr.audit.report.TESTS", TESTS[:1])
    report = audit_model(shortcut, decided)
    assert report.about["headline"] is None
    assert "Knowing only the collection" in report.about["refused"]
    forced = audit_model(shortcut, decided, force=True)
    assert forced.about["headline"]["accuracy"]["value"] == 1
    assert forced.about["refused"]


def test_through_the_command_line(model_file, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("covidcxr.audit.report.TESTS", (TESTS[0], TESTS[2], TESTS[7]))
    write_manifest(pictures, tmp_path / "manifest.csv")
    given = [str(model_file), "--manifest", str(tmp_path / "manifest.csv"), "--out", str(tmp_path / "out")]
    copy = tmp_path / "copy.onnx"
    result = CliRunner().invoke(cli, ["audit", *given, "--write-into", str(copy)], catch_exceptions=False)
    assert result.exit_code == 0
    content = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert Audit.from_dict(content["audit"]) == Predictor.load(copy).artifact.audit
    assert [test["verdict"] for test in content["tests"]] == ["pass", "pass", "not applicable"]
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "Not a medical device" in page
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page
