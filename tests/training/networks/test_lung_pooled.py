from dataclasses import replace

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from covidcxr.errors import RecipeError
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.artifact import ACTIVATION_MAP, INPUT, LUNGS, PROBABILITIES
from covidcxr.prediction.predictor import Predictor
from covidcxr.training.export import TOLERANCE, convert, parity, serving_model
from covidcxr.training.fit import set_trainable
from covidcxr.training.lungs.fit import CELLS_PREPROCESSING
from covidcxr.training.networks import build
from covidcxr.training.networks.lung_pooled import STAGES

pytestmark = pytest.mark.slow

SIZE, PATCH = 224, 28
PREPROCESSING = replace(CELLS_PREPROCESSING, crop=1.0)
"""The whole drawing: there is room around the lungs."""
INSIDE, OUTSIDE = ((90, 50), (70, 150)), ((0, 0), (0, SIZE - PATCH), (SIZE - PATCH, 0), (SIZE - PATCH, SIZE - PATCH))
"""Top left corners of places in the lungs of a drawing and far from them, in pixels."""


@pytest.fixture(scope="module")
def model():
    """The network as the recipe that ships has it, with a head that is not nothing."""
    network = build("lung_pooled", size=SIZE, classes=3, weights="imagenet", dropout=0)
    rng = np.random.default_rng(0)
    head = network.get_layer("head")
    head.set_weights([rng.normal(0, 0.05, weights.shape) for weights in head.get_weights()])
    return network


@pytest.fixture(scope="module")
def small():
    """A small one with random weights."""
    return build("lung_pooled", size=64, classes=3, weights=None, dropout=0)


@pytest.fixture(scope="module")
def image():
    return PREPROCESSING(radiograph(np.random.default_rng(0)))


def parts(model, image):
    """Return the stages, the share of each cell, and what comes of pooling, of one picture."""
    features, share = model.get_layer("inside").input
    outputs = {name: model.get_layer(name).output for name in STAGES}
    outputs |= {"features": features, "share": share, "pool": model.get_layer("pool").output}
    found = keras.Model(model.input, outputs)(image[np.newaxis, ..., np.newaxis], training=False)
    return {name: np.asarray(values)[0] for name, values in found.items()}


def test_what_lies_outside_the_lungs_hardly_counts(model, image):
    before = parts(model, image)
    patch = np.random.default_rng(1).integers(0, 256, (PATCH, PATCH), np.uint8)
    moved, moved_whole = [], []
    for top, left in INSIDE + OUTSIDE:
        changed = image.copy()
        changed[top : top + PATCH, left : left + PATCH] = patch
        after = parts(model, changed)
        moved.append(np.linalg.norm(after["pool"] - before["pool"]))
        moved_whole.append(np.linalg.norm((after["features"] - before["features"]).mean(axis=(0, 1))))
    ratio, ratio_whole = (np.mean(by[len(INSIDE) :]) / np.mean(by[: len(INSIDE)]) for by in (moved, moved_whole))
    assert ratio < 0.35, "what is left is what a wide receptive field sees of it from the lungs"
    assert ratio < 0.65 * ratio_whole


def test_pooling_is_the_mean_weighted_by_the_share_of_lung(model, image):
    found = parts(model, image)
    share = found["share"]
    assert share.shape == (14, 14, 1)
    assert share.mean() == pytest.approx(1, abs=1e-5)
    coarse = share.reshape(7, 2, 7, 2, 1).mean(axis=(1, 3))
    expected = [
        (found[stage] * weights).mean(axis=(0, 1))
        for stage, weights in zip(STAGES, (share, coarse, coarse), strict=True)
    ]
    assert [len(pooled) for pooled in expected] == [112, 192, 320]
    assert found["pool"] == pytest.approx(np.concatenate(expected), abs=1e-3)


def test_cells_in_the_lungs_count_and_others_do_not(model):
    share = parts(model, CELLS_PREPROCESSING(radiograph(np.random.default_rng(0))))["share"][..., 0]
    left, right, spine = share[4:9, 2:5], share[4:9, 9:12], share[3:9, 6:8]
    assert 1.5 < min(left.min(), right.min()) < max(left.max(), right.max()) < 2.5
    assert spine.max() < 0.5
    assert max(share[-2:, 1:-1].max(), share[0, :3].max(), share[0, -3:].max()) < 0.05


def test_the_shipped_model_finds_the_lungs_by_the_shipped_weights(model):
    greys = [radiograph(np.random.default_rng(seed)) for seed in range(2)]
    images = np.stack([CELLS_PREPROCESSING(grey) for grey in greys])[..., np.newaxis]
    expected = np.asarray(keras.Model(model.input, model.get_layer(LUNGS).output)(images))
    predictor = Predictor.load()
    assert predictor.artifact.preprocessing == CELLS_PREPROCESSING
    assert np.ptp(expected) > 0.9
    assert np.abs(predictor.run(greys, [LUNGS])[LUNGS] - expected).max() <= 1e-4


def test_a_picture_without_lungs_is_pooled_whole(model):
    assert np.isfinite(parts(model, np.zeros((SIZE, SIZE), np.uint8))["pool"]).all()
    network = build("lung_pooled", size=64, classes=3, weights=None, dropout=0)
    last = network.get_layer("lung_cells").layers[-1]
    kernel, bias = last.get_weights()
    last.set_weights([0 * kernel, bias - 100])
    none = parts(network, np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    assert none["share"] == pytest.approx(1)
    assert none["pool"] == pytest.approx(none["features"].mean(axis=(0, 1)), abs=1e-5)


@pytest.mark.parametrize(("size", "weights"), [(100, None), (80, None), (64, "lungs")])
def test_what_cannot_be_built_is_an_error(size, weights):
    with pytest.raises(RecipeError, match="Expected"):
        build("lung_pooled", size=size, classes=3, weights=weights, dropout=0)


@pytest.mark.parametrize("first", ["all", "stem", "stage4_block2_add"])
def test_the_features_that_find_the_lungs_stay(small, first):
    with pytest.raises(RecipeError, match=f"a layer after stage4_block2_add .* Received '{first}'"):
        set_trainable(small, first)


def test_what_finds_the_lungs_never_learns():
    network = build("lung_pooled", size=64, classes=3, weights=None, dropout=0)
    lungs = network.get_layer("lung_cells")
    assert not lungs.trainable_weights
    set_trainable(network, "stage5_block0_expand")
    assert not lungs.trainable_weights
    assert {"stage5_block3_project", "head"} <= {layer.name for layer in network.layers if layer.trainable_weights}
    before = lungs.get_weights()
    head = network.get_layer("head").get_weights()
    network.compile(optimizer=keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 1), np.uint8)
    network.train_on_batch(images, np.array([0, 1, 2, 0]))
    assert all((a == b).all() for a, b in zip(lungs.get_weights(), before, strict=True))
    assert any((a != b).any() for a, b in zip(network.get_layer("head").get_weights(), head, strict=True))


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("lung_pooled") / "model.onnx"
    onnx.save(convert(serving_model(model), SIZE), path)
    return path


def test_the_file_equals_keras(model, exported, image):
    serving = serving_model(model)
    assert parity(serving, exported, size=SIZE) <= TOLERANCE
    images = np.stack([image, image[:, ::-1]])[..., np.newaxis]
    received = ort.InferenceSession(exported).run([PROBABILITIES], {INPUT: images})[0]
    expected = np.asarray(serving(images, training=False)[PROBABILITIES])
    assert np.abs(received - expected).max() <= TOLERANCE
    assert received == pytest.approx(np.asarray(model(images, training=False)), abs=TOLERANCE)


def test_the_activation_map_is_that_of_the_lungs(model, exported, image):
    images = image[np.newaxis, ..., np.newaxis]
    probabilities, maps = ort.InferenceSession(exported).run([PROBABILITIES, ACTIVATION_MAP], {INPUT: images})
    assert maps.shape == (1, 14, 14, 3)
    kernel, bias = model.get_layer("head").get_weights()
    found = parts(model, image)
    scores = maps[0].mean(axis=(0, 1))
    assert scores == pytest.approx(found["pool"] @ kernel + bias, abs=1e-3)
    assert np.exp(scores) / np.exp(scores).sum() == pytest.approx(probabilities[0], abs=1e-4)
    evidence = np.abs(maps[0] - bias).max(axis=-1)
    share = found["share"][..., 0]
    assert evidence[share < 0.02].size > 50
    assert evidence[share < 0.02].max() < 0.03 * np.median(evidence[share > 2])
