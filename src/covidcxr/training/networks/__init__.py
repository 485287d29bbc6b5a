"""Networks by name. Each is a function from an input size and a number of classes to a Keras model.

A network takes preprocessed images, uint8 (N, size, size, 1), scales them inside the graph, and returns probabilities,
float32 (N, classes); with two classes and a sigmoid, (N, 1) for the second class. A network whose last layers are
``pool`` (global average pooling) and ``head`` (dense) gets a class activation map at export.
"""

from collections.abc import Callable

import keras

from covidcxr.errors import RecipeError
from covidcxr.training.networks.applications import application
from covidcxr.training.networks.efficientnet_lite import efficientnet_lite0
from covidcxr.training.networks.lung_pooled import lung_pooled
from covidcxr.training.networks.seed_cnn import seed_cnn

ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "seed_cnn": seed_cnn,
    "efficientnet_lite0": efficientnet_lite0,
    "lung_pooled": lung_pooled,
}
APPLICATIONS = "keras.applications."


def build(architecture: str, *, size: int, classes: int, weights: str | None, dropout: float) -> keras.Model:
    """Build a network.

    Args:
        architecture: Key of ARCHITECTURES, or ``keras.applications.NAME``.
        size: Side of the square input in pixels.
        classes: Number of classes, at least 2.
        weights: ``imagenet``, or None for random weights.
        dropout: Share of the pooled features dropped in training, 0..1; ``seed_cnn`` ignores it.

    Raises:
        RecipeError: There is no such architecture, or it has no such weights.

    """
    if architecture.startswith(APPLICATIONS):
        name = architecture.removeprefix(APPLICATIONS)
        return application(name, size=size, classes=classes, weights=weights, dropout=dropout)
    if architecture not in ARCHITECTURES:
        raise RecipeError(
            f"Expected an architecture of {', '.join(ARCHITECTURES)} or {APPLICATIONS}NAME. Received {architecture!r}."
        )
    return ARCHITECTURES[architecture](size=size, classes=classes, weights=weights, dropout=dropout)
