"""Training data: decoded images, class weights, and batches that are the same in every run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from covidcxr.data.manifest import Record
from covidcxr.images.decode import read_image
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.recipes.recipe import Augmentation
from covidcxr.training.augmentation import augmented
from covidcxr.training.image_cache import ImageCache


def load_images(
    records: Sequence[Record], preprocessing: Preprocessing, cache: Path | None = None
) -> NDArray[np.uint8]:
    """Decode and preprocess images exactly as the predictor does.

    Args:
        records: Records of the images.
        preprocessing: Preprocessing of the recipe.
        cache: Folder of decoded images (covidcxr.training.image_cache); None decodes every image.

    Returns:
        uint8, shape (n, size, size, 1), in the order of the records.

    Raises:
        ImageError: A file cannot be decoded, or its cached pixels are outdated; the message names it.
    """
    images = np.empty((len(records), preprocessing.size, preprocessing.size, 1), np.uint8)
    cached = ImageCache(cache, preprocessing) if cache else None
    for index, record in enumerate(tqdm(records, desc="decoding", unit="image", disable=None)):
        images[index, ..., 0] = cached.image(record) if cached else preprocessing(read_image(record.path))
    return images


def balanced_weights(y_true: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Return sample weights that give all classes equal weight: float32, shape (n,), mean 1."""
    counts = np.bincount(y_true, minlength=classes)
    weights: NDArray[np.float32] = (len(y_true) / (classes * counts[y_true])).astype(np.float32)
    return weights


Batch = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]
"""Images, y_true and sample weights: uint8 (b, size, size, 1), int64 (b,), float32 (b,)."""


class NumberedBatches(Protocol):
    """Batches of NumPy arrays by their number in an epoch.

    Attributes:
        epoch: Number of the next pass over the data.
    """

    epoch: int

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> tuple[NDArray[Any], ...]: ...


def pipeline(batches: NumberedBatches) -> tf.data.Dataset:
    """Return one epoch of batches, in order, as a ``tf.data`` pipeline that prepares the next ones during each step.

    Not built from a Python generator: TensorFlow would then make the C library return all freed memory at every step.
    """
    first = batches[0]
    dtypes = [part.dtype for part in first]

    def fetch(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        parts = tf.numpy_function(batches.__getitem__, [number], dtypes)
        return tuple(tf.ensure_shape(part, (None, *known.shape[1:])) for part, known in zip(parts, first, strict=True))

    dataset = tf.data.Dataset.range(len(batches)).map(fetch, num_parallel_calls=1, deterministic=True).prefetch(2)
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing to tune, and an epoch would wait for the tuner's thread to end
    return dataset.with_options(options)


class Batches:
    """Shuffled, augmented batches of classified images.

    Each batch is a function of (seed, epoch, number) alone, so a resumed run gets the same batches.

    Attributes:
        epoch: Number of the next pass over the data; set it before each pass.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        y_true: NDArray[np.int64],
        weights: NDArray[np.float32],
        *,
        batch_size: int,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.epoch = 0
        self._images, self._y_true, self._weights = images, y_true, weights
        self._batch_size, self._seed = batch_size, seed
        self._augmentation = augmentation

    def __len__(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def __getitem__(self, number: int) -> Batch:
        order = np.arange(len(self._images))
        if self._augmentation:
            order = np.random.default_rng([self._seed, self.epoch]).permutation(order)
        chosen = order[number * self._batch_size : (number + 1) * self._batch_size]
        images = self._images[chosen]
        if self._augmentation:
            rng = np.random.default_rng([self._seed, self.epoch, number])
            images = augmented(images, self._augmentation, rng)
        return images, self._y_true[chosen], self._weights[chosen]
