import numpy as np
import pytest

from covidcxr.errors import RecipeError
from covidcxr.training.networks import build
from covidcxr.training.networks.efficientnet_lite import MEAN, STDDEV, build_backbone


def test_the_classic_network_is_the_published_one():
    model = build("seed_cnn", size=224, classes=2, weights=None, dropout=0)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("Conv2D") == 4
    assert kinds.count("Dropout") == 4
    assert [layer.filters for layer in model.layers if hasattr(layer, "filters")] == [32, 64, 64, 128]
    assert model.count_params() == 896 + 18496 + 36928 + 73856 + 26 * 26 * 128 * 64 + 64 + 65
    assert model.output_shape == (None, 1)


def test_imagenet_weights_make_features_that_random_weights_do_not():
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1), np.uint8)
    model = build("efficientnet_lite0", size=64, classes=3, weights="imagenet", dropout=0)
    stem = model.get_layer("stem").get_weights()[0]
    again = build("efficientnet_lite0", size=64, classes=3, weights="imagenet", dropout=0)
    assert stem.shape == (3, 3, 1, 32)
    assert (again.get_layer("stem").get_weights()[0] == stem).all()
    assert np.asarray(model(image)).sum() == pytest.approx(1, abs=1e-5)
    random = build("efficientnet_lite0", size=64, classes=3, weights=None, dropout=0)
    assert not np.allclose(random.get_layer("stem").get_weights()[0], stem)


def test_input_is_scaled_inside_the_graph():
    backbone = build_backbone(32)
    rescaling = backbone.layers[1]
    assert np.ravel(rescaling.scale) * 255 + np.ravel(rescaling.offset) == pytest.approx((255 - MEAN) / STDDEV)
    assert backbone.input.dtype == "uint8"


def test_keras_applications_by_name():
    model = build("keras.applications.MobileNetV2", size=64, classes=3, weights=None, dropout=0.1)
    assert model(np.zeros((2, 64, 64, 1), np.uint8)).shape == (2, 3)
    assert {"pool", "head"} <= {layer.name for layer in model.layers}


@pytest.mark.parametrize(
    ("architecture", "classes", "weights"),
    [("resnet", 3, None), ("keras.applications.Nothing", 3, None), ("seed_cnn", 3, None), ("seed_cnn", 2, "imagenet")],
)
def test_what_cannot_be_built_is_an_error(architecture, classes, weights):
    with pytest.raises(RecipeError, match="Expected"):
        build(architecture, size=64, classes=classes, weights=weights, dropout=0)
