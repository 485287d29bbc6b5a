"""The network of the classic recipe, rebuilt to be questioned."""

import keras
from keras import layers

from covidcxr.errors import RecipeError


def seed_cnn(*, size: int, classes: int, weights: str | None, dropout: float) -> keras.Model:
    """Four 3x3 valid convolutions with ReLU, max pooling and dropout, then dense 64 and a sigmoid.

    The layout of the widely copied COVID-19 tutorials of spring 2020. ``dropout`` is part of the layout (0.25 after
    each pooling, 0.5 before the output) and not changed by the argument.

    Args:
        size: Side of the square input in pixels; the recipe has 224.
        classes: Must be 2.
        weights: Must be None: the recipe starts from random weights.
        dropout: Not used.

    Returns:
        Model from uint8 (N, size, size, 1) to float32 (N, 1), the probability of the second class.

    Raises:
        RecipeError: More than two classes, or weights asked for.
    """
    if classes != 2 or weights is not None:
        raise RecipeError(f"Expected 2 classes and no weights for seed_cnn. Received {classes} and {weights!r}.")
    image = keras.Input((size, size, 1), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Concatenate()([x, x, x])  # the recipe feeds RGB
    x = layers.Conv2D(32, 3, activation="relu")(x)
    for filters in (64, 64, 128):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.Dropout(0.25)(layers.MaxPooling2D()(x))
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    probability = layers.Dense(1, activation="sigmoid", dtype="float32")(layers.Dropout(0.5)(x))
    return keras.Model(image, probability, name="seed_cnn")
