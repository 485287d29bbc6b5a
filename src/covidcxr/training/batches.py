"""From records to batches: decoding, class weights, and a data set that repeats itself exactly."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from covidcxr.data.manifest import Record
from covidcxr.images.decode import read_image
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.labels import Label
from covidcxr.recipes.recipe import Augmentation
from covidcxr.training.augmentation import augmented
from covidcxr.training.image_cache import ImageCache


def load_images(
    records: Sequence[Record], preprocessing: Preprocessing, cache: Path | None = None
) -> NDArray[np.uint8]:
    """Decode and preprocess images exactly as the predictor does.

    Args:
        records: Whose images.
        preprocessing: That of the recipe.
        cache: Folder to take them from and leave them in for the next time; see covidcxr.training.image_cache.

    Returns:
        uint8, shape (n, size, size, 1), in the order of the records.

    Raises:
        ImageError: A file cannot be decoded any more, or the cache holds other pixels; the message names it.
    """
    images = np.empty((len(records), preprocessing.size, preprocessing.size, 1), np.uint8)
    cached = ImageCache(cache, preprocessing) if cache else None
    for index, record in enumerate(tqdm(records, desc="decoding", unit="image", disable=None)):
        images[index, ..., 0] = cached.image(record) if cached else preprocessing(read_image(record.path))
    return images


def class_indices(records: Sequence[Record], labels: Sequence[Label]) -> NDArray[np.int64]:
    """Return y_true: int64, shape (n,), index into ``labels`` of every record."""
    return np.array([labels.index(record.label) for record in records], np.int64)


def balanced_weights(y_true: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Return sample weights, float32, shape (n,), mean 1, under which every class counts the same."""
    counts = np.bincount(y_true, minlength=classes)
    weights: NDArray[np.float32] = (len(y_true) / (classes * counts[y_true])).astype(np.float32)
    return weights


Batch = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]
"""Images, y_true and weights: uint8 (b, size, size, 1), int64 (b,), float32 (b,)."""


class Batches:
    """Shuffled, augmented batches. Every batch is a function of (seed, epoch, number) alone, so a resumed run is exact.

    Attributes:
        epoch: Which pass over the data comes next; set it before iterating.
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

    def dataset(self, replicas: int = 1) -> tf.data.Dataset:
        """Return the batches in order as a ``tf.data`` pipeline that prepares the next while the network learns.

        Not from a Python generator: TensorFlow then makes the C library give all memory back at every step.

        Args:
            replicas: Devices that share every batch; see _shared.
        """

        def fetch(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            batch = tf.numpy_function(
                lambda number: _shared(self[number], replicas), [number], (tf.uint8, tf.int64, tf.float32)
            )
            images, y_true, weights = batch
            return (
                tf.ensure_shape(images, (None, *self._images.shape[1:])),
                tf.ensure_shape(y_true, (None,)),
                tf.ensure_shape(weights, (None,)),
            )

        batches = tf.data.Dataset.range(len(self)).map(fetch, num_parallel_calls=1, deterministic=True).prefetch(2)
        options = tf.data.Options()
        options.autotune.enabled = False  # nothing is left to tune, and an epoch waits for the tuner to wake up and end
        return batches.with_options(options)


def _shared(batch: Batch, replicas: int) -> Batch:
    """Repeat the first image with weight 0 until every device gets as many images.

    Each device divides its loss by its number of images, and one without any by zero. The other weights grow by as much
    as the batch does, so the mean over all devices stays the weighted loss divided by the images of the batch.
    """
    images, y_true, weights = batch
    size = len(images)
    missing = -size % replicas
    if not missing:
        return batch
    grown = np.float32((size + missing) / size)
    return (
        np.concatenate([images, images[:1].repeat(missing, axis=0)]),
        np.concatenate([y_true, y_true[:1].repeat(missing)]),
        np.concatenate([weights * grown, np.zeros(missing, np.float32)]),
    )
