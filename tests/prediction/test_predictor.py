import numpy as np
import pytest

from covidcxr.errors import ArtifactError
from covidcxr.labels import Label, PointName
from covidcxr.prediction.flags import TEXTS, FlagCode
from covidcxr.prediction.predictor import Predictor


def test_probabilities_and_label_follow_the_network(predictor):
    bright = np.tile(np.array([[200, 220]], np.uint8), (120, 80))
    prediction = predictor.predict(bright)
    assert prediction.label is Label.COVID
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert predictor.predict(255 - bright).label is Label.NORMAL


def test_map_lies_where_the_evidence_is(predictor):
    image = np.full((400, 500), 20, np.uint8)
    image[300:360, 60:120] = 255
    prediction = predictor.predict_many([image])[0]
    covid = predictor.predict(np.maximum(image, 128 + (image > 20) * np.uint8(100)))
    assert covid.label is Label.COVID
    left, top, right, bottom = covid.activation_map.box
    row, column = np.unravel_index(covid.activation_map.values.argmax(), covid.activation_map.values.shape)
    x = (left + (right - left) * (column + 0.5) / 7) * 500
    y = (top + (bottom - top) * (row + 0.5) / 7) * 400
    assert 60 - 40 < x < 120 + 40
    assert 300 - 40 < y < 360 + 40
    assert covid.activation_map.values.max() == 1
    assert prediction.label is Label.NORMAL


@pytest.mark.parametrize(("grey", "positive"), [(40, (False, False)), (128, (True, False)), (230, (True, True))])
def test_operating_points_say_on_which_side_an_image_lies(predictor, grey, positive):
    prediction = predictor.predict(np.tile(np.array([[grey, grey + 1]], np.uint8), (120, 80)))
    screening, balanced = prediction.operating_points[PointName.SCREENING], prediction.operating_points["balanced"]
    assert (screening.threshold, balanced.threshold) == (0.3, 0.36)
    assert (screening.positive, balanced.positive) == positive
    assert prediction.to_dict("a.png")["operating_points"] == {
        "screening": {"threshold": 0.3, "positive": positive[0]},
        "balanced": {"threshold": 0.36, "positive": positive[1]},
    }


def test_a_model_without_operating_points_gives_none(plain_model_file):
    prediction = Predictor.load(plain_model_file).predict(np.tile(np.array([[40, 90]], np.uint8), (120, 80)))
    assert prediction.label is Label.NORMAL
    assert prediction.to_dict("a.png")["operating_points"] == {}


def test_a_batch_equals_single_images(predictor):
    images = [np.random.default_rng(i).integers(0, 255, (190 + i, 200), np.uint8) for i in range(5)]
    batch = predictor.predict_many(images)
    for image, prediction in zip(images, batch, strict=True):
        single = predictor.predict(image)
        assert single.probabilities == pytest.approx(prediction.probabilities, abs=1e-6)
    assert predictor.predict_many([]) == []


def test_a_uniform_image_is_declined(predictor):
    prediction = predictor.predict(np.full((100, 100), 90, np.uint8))
    assert prediction.abstained
    assert prediction.label is None
    assert prediction.reason == TEXTS[FlagCode.UNIFORM]
    assert prediction.to_dict("a.png")["operating_points"] == {}


def test_a_file_without_the_contract_is_refused(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match=r"broken\.onnx"):
        Predictor.load(broken)
    with pytest.raises(ArtifactError, match=r"absent\.onnx"):
        Predictor.load(tmp_path / "absent.onnx")
