import json

import pytest

from covidcxr.errors import ArtifactError
from covidcxr.labels import Label, PointName
from covidcxr.prediction.artifact import METADATA_KEY, Artifact


def test_metadata_round_trip(predictor):
    artifact = predictor.artifact
    assert Artifact.from_metadata(artifact.to_metadata(), "model.onnx") == artifact


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2"),
        ({"labels": ["healthy"]}, "healthy"),
        ({"preprocessing": {"size": 8, "crop": 1, "equalize": False}}, "size"),
        ({"surprise": 1}, "surprise"),
        ({"temperature": 0.0}, "temperature"),
        ({"labels": ["normal", "pneumonia"]}, "no operating points"),
        ({"operating_points": [{"name": "screening"}]}, "sensitivity_interval"),
    ],
)
def test_a_broken_contract_is_refused_with_the_file_name(predictor, change, message):
    values = json.loads(predictor.artifact.to_metadata()[METADATA_KEY]) | change
    with pytest.raises(ArtifactError, match=rf"model\.onnx.*{message}"):
        Artifact.from_metadata({METADATA_KEY: json.dumps(values)}, "model.onnx")


@pytest.mark.parametrize(("field", "value"), [("name", "lucky"), ("threshold", 1.5), ("specificity_interval", [-1, 1])])
def test_a_broken_operating_point_is_refused(predictor, field, value):
    values = json.loads(predictor.artifact.to_metadata()[METADATA_KEY])
    values["operating_points"][1][field] = value
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        Artifact.from_metadata({METADATA_KEY: json.dumps(values)}, "model.onnx")


def test_a_file_from_before_there_was_calibration_is_read(predictor):
    values = json.loads(predictor.artifact.to_metadata()[METADATA_KEY])
    assert [point["name"] for point in values["operating_points"]] == [PointName.SCREENING, PointName.BALANCED]
    del values["temperature"], values["operating_points"]
    artifact = Artifact.from_metadata({METADATA_KEY: json.dumps(values)}, "model.onnx")
    assert artifact.labels[-1] is Label.COVID
    assert (artifact.temperature, artifact.operating_points) == (1.0, ())


def test_no_contract_at_all():
    with pytest.raises(ArtifactError, match=r"other\.onnx without its metadata"):
        Artifact.from_metadata({}, "other.onnx")
