import numpy as np
import pytest

from covidcxr.errors import ArtifactError
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.lungs import LungSegmenter
from covidcxr.training.lungs.fit import PREPROCESSING, TOLERANCE, export_lungs
from covidcxr.training.networks.lung_unet import lung_unet


@pytest.fixture(scope="module")
def model():
    """A network whose normalisation has statistics other than 0 and 1, as a trained one has."""
    network = lung_unet(size=PREPROCESSING.size, channels=2)
    rng = np.random.default_rng(0)
    network.set_weights([weights + rng.uniform(-0.1, 0.1, weights.shape) for weights in network.get_weights()])
    return network


def test_shape_and_range(model):
    lungs = np.asarray(model(np.zeros((3, 128, 128, 1), np.uint8)))
    assert lungs.shape == (3, 128, 128, 1)
    assert lungs.dtype == np.float32
    assert lungs.min() >= 0
    assert lungs.max() <= 1


@pytest.mark.parametrize("batch", [1, 5, 33])
def test_the_file_equals_keras(model, tmp_path, batch):
    export_lungs(model, tmp_path / "lungs.onnx", data_hash="0" * 64)
    segmenter = LungSegmenter.load(tmp_path / "lungs.onnx")
    assert segmenter.preprocessing == PREPROCESSING
    greys = [radiograph(np.random.default_rng(n), size=(96, 80)) for n in range(batch)]
    expected = np.asarray(model(np.stack([PREPROCESSING(grey) for grey in greys])[..., np.newaxis]))[..., 0]
    received = segmenter.probabilities(greys)
    assert np.ptp(expected) > 0.01
    assert np.abs(received - expected).max() <= TOLERANCE


def test_a_file_that_differs_is_noticed(model, tmp_path, monkeypatch):
    monkeypatch.setattr("covidcxr.training.lungs.fit.TOLERANCE", -1.0)
    with pytest.raises(ArtifactError, match="equal Keras"):
        export_lungs(model, tmp_path / "lungs.onnx", data_hash="0" * 64)
    assert not list(tmp_path.iterdir())
