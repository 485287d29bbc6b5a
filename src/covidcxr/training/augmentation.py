"""Random augmentation of training images: geometry in one resampling, then grey values."""

import keras
import numpy as np
from numpy.typing import NDArray

from covidcxr.recipes.recipe import Augmentation


def augmented(images: NDArray[np.uint8], augmentation: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change every image at random.

    Mirroring, rotation, scale and shift are combined into one affine map with one bilinear resampling. Three
    resamplings would blur images so much that unchanged ones look foreign to the network.

    Args:
        images: uint8, shape (n, side, side, 1).
        augmentation: Ranges of the changes, which are drawn uniformly.
        rng: Source of all randomness.

    Returns:
        uint8, shape (n, side, side, 1); areas from outside the image repeat its border.
    """
    count, side = images.shape[:2]
    maps = _affine_maps(augmentation, rng, count, side)
    brightness = 255 * rng.uniform(-augmentation.brightness, augmentation.brightness, (count, 1, 1, 1))
    contrast = 1 + rng.uniform(-augmentation.contrast, augmentation.contrast, (count, 1, 1, 1))
    if augmentation.moves:
        with keras.device("cpu:0"):  # gives the same images on every machine, and leaves a GPU to the network
            moved = keras.ops.image.affine_transform(images.astype(np.float32), maps, "bilinear", "nearest")
        values = np.asarray(moved)
    else:
        values = images.astype(np.float32)
    if augmentation.brightness or augmentation.contrast:
        mean = values.mean(axis=(1, 2, 3), keepdims=True)
        values = (values - mean) * contrast + mean + brightness
    changed: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return changed


def _affine_maps(augmentation: Augmentation, rng: np.random.Generator, count: int, side: int) -> NDArray[np.float32]:
    """Return the affine maps in the form of Keras: float32, shape (count, 8).

    With the row (a, b, c, d, e, f, 0, 0), pixel (x, y) of the result is read at (ax + by + c, dx + ey + f).
    """
    a = augmentation
    mirror = rng.choice((-1, 1), count) if a.flip else np.ones(count)
    angle = np.radians(rng.uniform(-a.rotation, a.rotation, count))
    scale_x, scale_y = 1 + rng.uniform(-a.zoom, a.zoom, (2, count))
    shift_x, shift_y = side * rng.uniform(-a.translation, a.translation, (2, count))
    xx, xy = mirror * scale_x * np.cos(angle), -mirror * scale_x * np.sin(angle)
    yx, yy = scale_y * np.sin(angle), scale_y * np.cos(angle)
    middle = (side - 1) / 2
    zero = np.zeros(count)
    rows = (
        *(xx, xy, middle + shift_x - middle * (xx + xy)),
        *(yx, yy, middle + shift_y - middle * (yx + yy)),
        *(zero, zero),
    )
    return np.stack(rows, axis=1).astype(np.float32)
