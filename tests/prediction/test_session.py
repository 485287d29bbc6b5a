import numpy as np
import pytest

from covidcxr.errors import ArtifactError
from covidcxr.prediction.artifact import INPUT, PROBABILITIES
from covidcxr.prediction.session import open_session


def test_a_file_and_its_content_give_the_same_network(model_file):
    image = np.full((1, 224, 224, 1), 200, np.uint8)
    sessions = [open_session(model_file, threads=1), open_session(model_file.read_bytes(), name="a copy")]
    first, second = (session.run([PROBABILITIES], {INPUT: image})[0] for session in sessions)
    assert np.array_equal(first, second)


def test_what_is_no_network_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ArtifactError, match=r"Expected a model file in ONNX format\. Received .*absent\.onnx"):
        open_session(tmp_path / "absent.onnx")
    with pytest.raises(ArtifactError, match="Received a copy: "):
        open_session(b"broken", name="a copy")
