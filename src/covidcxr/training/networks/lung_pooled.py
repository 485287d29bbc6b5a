"""EfficientNet-Lite0 that averages its features over the lungs, which it finds by its own features.

Everything outside the lungs (markers, cables, collimation, body shape) reveals the collection and says little about
pneumonia. Three middle stages are pooled instead of the last layer, which is most specific to the objects of ImageNet.
"""

import keras
from keras import layers

from covidcxr.errors import RecipeError
from covidcxr.prediction.artifact import LUNGS
from covidcxr.training.networks.blocks import classification_head, doubled
from covidcxr.training.networks.efficientnet_lite import load_backbone
from covidcxr.training.networks.lung_cells import SEEN, lung_cells

STAGES = (SEEN, "stage5_block3_add", "stage6_block0_project_bn")
"""Layers whose features are pooled: 112, 192 and 320 channels at 1/16, 1/32 and 1/32 of the side."""
FLOOR = 1e-3
"""Added to the probability of lung, so that an image without lungs is averaged as a whole."""


def lung_pooled(*, size: int, classes: int, weights: str | None, dropout: float) -> keras.Model:
    """Build the network.

    Args:
        size: Side of the square input in pixels, a multiple of 32. The lung finder was trained with
            covidcxr.training.lungs.fit.CELLS_PREPROCESSING and works less well with other preprocessing.
        classes: Number of classes.
        weights: ``imagenet``, which includes the weights of covidcxr.training.networks.lung_cells, or None.
        dropout: Share of the pooled features dropped in training.

    Returns:
        Model from uint8 (N, size, size, 1) to float32 (N, classes).

    Raises:
        RecipeError: There are no such weights, or the side is not a multiple of 32.
    """
    if size % 32:
        raise RecipeError(f"Expected a multiple of 32 as the size of lung_pooled. Received {size}.")
    backbone = load_backbone(size, weights)
    stages = [backbone.get_layer(name).output for name in STAGES]
    finest = stages[0].shape[1]
    features = layers.Concatenate()([doubled(x) if x.shape[1] < finest else x for x in stages])
    share = _share_of_lungs(stages[0], weights)
    inside = layers.Multiply(name="inside")([features, share])
    probabilities = classification_head(inside, classes=classes, dropout=dropout)
    return keras.Model(backbone.input, probabilities, name="lung_pooled")


def _share_of_lungs(features: keras.KerasTensor, weights: str | None) -> keras.KerasTensor:
    """Return the weight of each cell of the finest stage: float32 (N, h, w, 1), mean 1 over an image."""
    finder = lung_cells(features.shape[-1], None if weights is None else "lungs")
    finder.trainable = False
    cells = layers.Activation("linear", dtype="float32", name=LUNGS)(finder(features))
    raised = cells + FLOOR
    return raised / keras.ops.mean(raised, axis=(1, 2), keepdims=True)
