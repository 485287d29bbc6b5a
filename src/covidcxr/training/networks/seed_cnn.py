"""The network of the recipe ``classic``, rebuilt in order to question it."""

import keras
from keras import layers

from covidcxr.errors import RecipeError


def seed_cnn(*, size: int, classes: int, weights: str | None, dropout: float) -> keras.Model:
    """Build four 3x3 valid convolutions with ReLU, max pooling and dropout, then a dense layer of 64 and a sigmoid.

    This is the layout of the widely copied COVID-19 tutorials of spring 2020, including its dropout: 0.25 after each
    pooling, 0.5 before the output.

    Args:
        size: Side of the square input in pixels; 224 in the recipe.
        classes: Must be 2.
        weights: Must be None: the recipe starts from random weights.
        dropout: Ignored.

    Returns:
        Model from uint8 (N, size, size, 1) to the probability of the second class, float32 (N, 1).

    Raises:
        RecipeError: ``classes`` is not 2, or ``weights`` is not None.
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
