"""Backbones of ``keras.applications`` by name."""

from typing import Any

import keras
from keras import layers

from covidcxr.errors import RecipeError
from covidcxr.training.networks.blocks import classification_head


def application(name: str, *, size: int, classes: int, weights: str | None, dropout: float) -> keras.Model:
    """Build a ``keras.applications`` backbone for greyscale images with a classification head.

    Args:
        name: Name of the model function, such as ``MobileNetV2``.
        size: Side of the square input in pixels.
        classes: Number of classes.
        weights: ``imagenet`` (Keras downloads them), or None.
        dropout: Share of the pooled features dropped in training.

    Returns:
        Model from uint8 (N, size, size, 1) to float32 (N, classes).

    Raises:
        RecipeError: Keras has no such model.
    """
    module = _module_of(name)
    image = keras.Input((size, size, 1), dtype="uint8", name="image")
    x = layers.Rescaling(1.0)(image)  # to float32, 0..255
    x = module.preprocess_input(layers.Concatenate()([x, x, x]))
    backbone = getattr(module, name)(include_top=False, weights=weights, input_tensor=x)
    probabilities = classification_head(backbone.output, classes=classes, dropout=dropout)
    return keras.Model(image, probabilities, name=name.lower())


def _module_of(name: str) -> Any:  # noqa: ANN401 - Keras modules are not typed
    for module in vars(keras.applications).values():
        if hasattr(module, "preprocess_input") and callable(getattr(module, name, None)) and name[:1].isupper():
            return module
    raise RecipeError(f"Expected the name of a model in keras.applications. Received {name!r}.")
