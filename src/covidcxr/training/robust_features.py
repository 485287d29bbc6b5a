"""Computation of a network's head from features of the training images, plain and with synthetic opacities."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from covidcxr.data.manifest import Record
from covidcxr.errors import RecipeError
from covidcxr.images.decode import read_image
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.prediction.lungs import LungSegmenter
from covidcxr.recipes.recipe import Recipe, RobustHead
from covidcxr.training.batches import load_images
from covidcxr.training.opacities import with_opacities
from covidcxr.training.robust_head import features_of, fit_head

BATCH = 32


def set_robust_head(
    model: keras.Model, settings: RobustHead, records: Sequence[Record], recipe: Recipe, cache: Path | None
) -> None:
    """Compute the weights of the layer ``head``; no other layer changes.

    Args:
        model: Network with the layers ``pool`` and ``head``; see covidcxr.training.networks.
        settings: Weights of the parts; see covidcxr.training.robust_head.
        records: Training images.
        recipe: Recipe, for its preprocessing and seed.
        cache: Folder of decoded images (covidcxr.training.image_cache); None decodes every image.

    Raises:
        RecipeError: The network lacks one of these layers.
        ManifestError: There are too few images of a class.
        ImageError: An image cannot be decoded.
    """
    if not {"pool", "head"} <= {layer.name for layer in model.layers}:
        raise RecipeError(f"Expected a network with the layers pool and head. Received {model.name}.")
    pooled = keras.Model(model.input, model.get_layer("pool").output)
    plain = _features(pooled, load_images(records, recipe.preprocessing, cache))
    opaque = _features(pooled, opaque_images(records, recipe.preprocessing, seed=recipe.training.seed))
    model.get_layer("head").set_weights(fit_head(features_of(plain, opaque, records), settings))


def opaque_images(records: Sequence[Record], preprocessing: Preprocessing, *, seed: int) -> NDArray[np.uint8]:
    """Decode images, draw opacities into their lungs, and preprocess them.

    Returns:
        uint8, shape (n, size, size, 1), in the order of the records; each image is a function of its id and the seed.
    """
    segmenter = LungSegmenter.load()
    images = np.empty((len(records), preprocessing.size, preprocessing.size, 1), np.uint8)
    for index, record in enumerate(tqdm(records, desc="opacities", unit="image", disable=None)):
        grey = read_image(record.path)
        rng = np.random.default_rng([seed, *record.id.encode()])
        images[index, ..., 0] = preprocessing(with_opacities(grey, segmenter.probabilities([grey])[0], rng))
    return images


def _features(pooled: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    starts = tqdm(range(0, len(images), BATCH), desc="features", unit="batch", disable=None)
    return np.concatenate([pooled.predict_on_batch(images[start : start + BATCH]) for start in starts])
