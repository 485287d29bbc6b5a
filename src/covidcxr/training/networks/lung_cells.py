"""Lung finder inside the classifier: two small convolutions on features that the classifier computes anyway."""

from importlib.resources import as_file, files

import keras
from keras import layers

from covidcxr.training.networks.efficientnet_lite import load_backbone

SEEN = "stage4_block2_add"
"""Layer of covidcxr.training.networks.efficientnet_lite that is read: 112 channels at 1/16 of the side."""
CHANNELS = 16
WEIGHTS = "lung_cells.weights.h5"
NAME = "lung_cells"


def lung_cells(channels: int, weights: str | None) -> keras.Model:
    """Build the two convolutions.

    Args:
        channels: Number of channels of the features, see SEEN.
        weights: ``lungs`` (shipped with the package, from ``covidcxr lungs train``) or None for random ones.

    Returns:
        Model from float32 (N, h, w, channels) to the probability of lung of every cell, float32 (N, h, w, 1).
    """
    features = keras.Input((None, None, channels))
    x = layers.Conv2D(CHANNELS, 3, padding="same", use_bias=False)(features)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    model = keras.Model(features, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x), name=NAME)
    if weights is not None:
        with as_file(files("covidcxr.training.networks") / WEIGHTS) as path:
            model.load_weights(path)
    return model


def lung_cell_network(size: int) -> keras.Model:
    """Build the network for training the convolutions: random weights on a frozen ImageNet backbone.

    Args:
        size: Side of the square input in pixels, a multiple of 32.

    Returns:
        Model from uint8 (N, size, size, 1), preprocessed with covidcxr.training.lungs.fit.CELLS_PREPROCESSING, to
        float32 (N, size / 16, size / 16, 1).
    """
    backbone = load_backbone(size, "imagenet")
    backbone.trainable = False
    features = backbone.get_layer(SEEN).output
    return keras.Model(backbone.input, lung_cells(features.shape[-1], None)(features), name="lung_cell_network")
