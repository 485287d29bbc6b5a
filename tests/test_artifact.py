import json

import pytest

from covidcxr.artifact import METADATA_KEY, Artifact
from covidcxr.errors import ArtifactError


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
    ],
)
def test_a_broken_contract_is_refused_with_the_file_name(predictor, change, message):
    values = json.loads(predictor.artifact.to_metadata()[METADATA_KEY]) | change
    with pytest.raises(ArtifactError, match=rf"model\.onnx.*{message}"):
        Artifact.from_metadata({METADATA_KEY: json.dumps(values)}, "model.onnx")


def test_no_contract_at_all():
    with pytest.raises(ArtifactError, match=r"other\.onnx without its metadata"):
        Artifact.from_metadata({}, "other.onnx")
