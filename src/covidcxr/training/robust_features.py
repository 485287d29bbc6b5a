"""Computation of a network's head from features of the training images, plain and with synthetic opacities."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from covidcxr.data.manifest import Record
from covidcxr.errors import ManifestError, RecipeError
from covidcxr.evaluation.metrics import FloatArray
from covidcxr.images.decode import read_image
from covidcxr.prediction.artifact import LUNGS
from covidcxr.prediction.lungs import LungSegmenter
from covidcxr.prediction.preparation import Preparation
from covidcxr.recipes.recipe import Recipe, RobustHead
from covidcxr.training.batches import load_images
from covidcxr.training.networks.lung_pooled import ATTENTION, DEVIATION, FLOOR
from covidcxr.training.opacities import with_opacities
from covidcxr.training.robust_head import LEAST, NORMAL, classes_of, features_of, find_directions, fit_scores

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
    if not {DEVIATION, ATTENTION, "pool", "head"} <= {layer.name for layer in model.layers}:
        raise RecipeError(f"Expected the network lung_pooled for a computed head. Received {model.name}.")
    prepare = Preparation.shipped(recipe.preprocessing)
    images = load_images(records, prepare, cache)
    model.get_layer(DEVIATION).set_weights([_healthy(model, images, records, settings.place)])
    pooled = keras.Model(model.input, model.get_layer("pool").output)
    opaque = opaque_images(records, prepare, seed=recipe.training.seed)
    directions = find_directions(features_of(_outputs(pooled, images), _outputs(pooled, opaque), records), settings)
    attention = settings.attention * directions[:, 0] / _spread(model, images, directions[:, 0])
    model.get_layer(ATTENTION).set_weights([attention[np.newaxis, np.newaxis, :, np.newaxis].astype(np.float32)])
    model.get_layer("head").set_weights(fit_scores(_outputs(pooled, images), directions, classes_of(records)))


def _healthy(
    model: keras.Model, images: NDArray[np.uint8], records: Sequence[Record], place: float
) -> NDArray[np.float32]:
    """Return the features of healthy people: float32, shape (h, w, channels), with equal weight for every origin.

    Args:
        model: Network with a layer DEVIATION whose weights are 0.
        images: Prepared images.
        records: Their records.
        place: 0 gives the mean over the lungs at every place, 1 the mean of each place, values between a mixture.
    """
    cells = keras.Model(model.input, [model.get_layer(DEVIATION).output, model.get_layer(LUNGS).output])
    origins = np.array([record.origin for record in records])
    normal = classes_of(records) == NORMAL
    found = [chosen for origin in np.unique(origins) if (chosen := normal & (origins == origin)).sum() >= LEAST]
    if not found:
        raise ManifestError(f"Expected {LEAST} normal images of one origin. Received fewer.")
    means, areas = zip(*(_means(cells, images[chosen]) for chosen in found), strict=True)
    by_place, lungs = np.mean(means, axis=0), np.mean(areas, axis=0)
    everywhere = (by_place * lungs).sum(axis=(0, 1)) / lungs.sum()
    healthy: NDArray[np.float32] = (place * by_place + (1 - place) * everywhere).astype(np.float32)
    return healthy


def _means(cells: keras.Model, images: NDArray[np.uint8]) -> tuple[FloatArray, FloatArray]:
    """Return mean features and mean share of lung of each cell: float64, shapes (h, w, channels) and (h, w, 1)."""
    total: list[Any] = [0.0, 0.0]
    for batch in _batches(images):
        total = [kept + np.asarray(new, np.float64).sum(axis=0) for kept, new in zip(total, cells(batch), strict=True)]
    return total[0] / len(images), total[1] / len(images)


def _spread(model: keras.Model, images: NDArray[np.uint8], direction: FloatArray) -> float:
    """Return the standard deviation of the evidence over the lungs of an image."""
    cells = keras.Model(model.input, [model.get_layer(DEVIATION).output, model.get_layer(LUNGS).output])
    variances = []
    for batch in _batches(images):
        features, lungs = (np.asarray(value, np.float64) for value in cells(batch))
        evidence, weight = features @ direction, lungs[..., 0] + FLOOR
        mean, square = (
            np.average(values.reshape(len(values), -1), weights=weight.reshape(len(weight), -1), axis=1)
            for values in (evidence, evidence**2)
        )
        variances.append(square - mean**2)
    return float(np.sqrt(np.concatenate(variances).mean()))


def opaque_images(records: Sequence[Record], prepare: Preparation, *, seed: int) -> NDArray[np.uint8]:
    """Decode images, draw opacities into their lungs, and prepare them, with the lungs of the images without.

    Returns:
        uint8, shape (n, size, size, channels), in the order of the records; each image is a function of its id and the
        seed.
    """
    segmenter = prepare.segmenter or LungSegmenter.load()
    settings = prepare.preprocessing
    images = np.empty((len(records), settings.size, settings.size, settings.channels), np.uint8)
    for index, record in enumerate(tqdm(records, desc="opacities", unit="image", disable=None)):
        grey = read_image(record.path)
        rng = np.random.default_rng([seed, *record.id.encode()])
        lungs = segmenter.probabilities([grey])
        opaque = with_opacities(grey, lungs[0], rng)
        images[index] = prepare.framed([opaque], lungs).inputs[0]
    return images


def _outputs(pooled: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([pooled.predict_on_batch(batch) for batch in _batches(images)])


def _batches(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in tqdm(range(0, len(images), BATCH), desc="features", unit="batch", disable=None):
        yield images[start : start + BATCH]
