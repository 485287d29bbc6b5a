"""Random changes of training images: one resampling for all of the geometry, then the grey values."""

import keras
import numpy as np
from numpy.typing import NDArray

from covidcxr.recipes.recipe import Augmentation


def augmented(images: NDArray[np.uint8], augmentation: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change every image at random.

    Mirroring, rotation, scale and shift are one affine map and one bilinear resampling: three of them, one after the
    other, soften pictures so much that plain ones look foreign to the network.

    Args:
        images: uint8, shape (n, side, side, 1).
        augmentation: What may change and how far; every change is drawn evenly from its range.
        rng: Decides all of it.

    Returns:
        uint8, shape (n, side, side, 1); what comes in from outside repeats the border.
    """
    count, side = images.shape[:2]
    maps = _affine_maps(augmentation, rng, count, side)
    brightness = 255 * rng.uniform(-augmentation.brightness, augmentation.brightness, (count, 1, 1, 1))
    contrast = 1 + rng.uniform(-augmentation.contrast, augmentation.contrast, (count, 1, 1, 1))
    if augmentation.moves:
        with keras.device("cpu:0"):  # a GPU has the network to compute, and the same pictures come out everywhere
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
    """Return where each pixel of the result comes from, float32, shape (count, 8), as Keras expects it.

    A row (a, b, c, d, e, f, 0, 0) fetches pixel (x, y) from (ax + by + c, dx + ey + f).
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
