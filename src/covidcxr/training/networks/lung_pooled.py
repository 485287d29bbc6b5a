"""EfficientNet-Lite0 that compares the lungs with healthy ones, and looks most where they differ.

Everything outside the lungs (markers, cables, collimation, body shape) reveals the collection and says little about
pneumonia. Three middle stages are pooled instead of the last layer, which is most specific to the objects of ImageNet.
"""

from typing import Any

import keras
from keras import layers

from covidcxr.errors import RecipeError
from covidcxr.prediction.artifact import LUNGS
from covidcxr.training.networks.blocks import classification_head, doubled, rescaling
from covidcxr.training.networks.efficientnet_lite import load_backbone

STAGES = ("stage4_block2_add", "stage5_block3_add", "stage6_block0_project_bn")
"""Layers whose features are pooled: 112, 192 and 320 channels at 1/16, 1/32 and 1/32 of the side."""
CELL = 16
"""Pixels of the side of a cell, those of the finest of these layers."""
DEVIATION, ATTENTION = "deviation", "attention"
"""Layers whose weights covidcxr.training.robust_features computes."""
FLOOR = 1e-3
"""Added to the probability of lung, so that an image without lungs is averaged as a whole."""


@keras.saving.register_keras_serializable("covidcxr")
class Deviation(layers.Layer):  # type: ignore[misc] - Keras has no types
    """Difference of features from those of healthy people at the same place, a weight that is not trained."""

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Create the weight: float32 (h, w, channels), 0 at first."""
        self.healthy = self.add_weight(shape=input_shape[1:], initializer="zeros", trainable=False, name="healthy")

    def call(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """Subtract: float32 (N, h, w, channels)."""
        return features - self.healthy


def lung_pooled(*, size: int, classes: int, weights: str | None, dropout: float) -> keras.Model:
    """Build the network.

    The weight of a cell is its share of lung times e to the power of its evidence of disease, which the layer ATTENTION
    gives: with its weights 0, all of the lung counts the same.

    Args:
        size: Side of the square input in pixels, a multiple of 32.
        classes: Number of classes.
        weights: ``imagenet`` or None.
        dropout: Share of the pooled features dropped in training.

    Returns:
        Model from uint8 (N, size, size, 2), image and probability of lung (covidcxr.images.preprocessing with a
        frame), to float32 (N, classes).

    Raises:
        RecipeError: There are no such weights, or the side is not a multiple of 32.
    """
    if size % 32:
        raise RecipeError(f"Expected a multiple of 32 as the size of lung_pooled. Received {size}.")
    backbone = load_backbone(size, weights, channels=2)
    stages = [backbone.get_layer(name).output for name in STAGES]
    finest = stages[0].shape[1]
    features = layers.Concatenate()([doubled(x) if x.shape[1] < finest else x for x in stages])
    features = Deviation(name=DEVIATION, dtype="float32")(features)
    lungs = layers.AveragePooling2D(CELL, name=LUNGS, dtype="float32")(rescaling(1 / 255)(backbone.input[..., 1:]))
    evidence = layers.Conv2D(
        1, 1, use_bias=False, kernel_initializer="zeros", trainable=False, name=ATTENTION, dtype="float32"
    )(features)
    raised = (lungs + FLOOR) * keras.ops.exp(evidence - keras.ops.max(evidence, axis=(1, 2), keepdims=True))
    share = raised / keras.ops.mean(raised, axis=(1, 2), keepdims=True)
    inside = layers.Multiply(name="inside")([features, share])
    probabilities = classification_head(inside, classes=classes, dropout=dropout)
    return keras.Model(backbone.input, probabilities, name="lung_pooled")
