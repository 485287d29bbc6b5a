"""The head that all transfer-learning networks share, and that makes the class activation map free."""

import keras
from keras import layers


def classification_head(features: keras.KerasTensor, *, classes: int, dropout: float) -> keras.KerasTensor:
    """Global average pooling, dropout and one dense layer with softmax (Zhou et al. 2016), which is always float32.

    Args:
        features: float32, shape (N, h, w, channels).
        classes: Number of classes.
        dropout: Share of the pooled features dropped in training.

    Returns:
        float32, shape (N, classes), sums to 1.
    """
    pooled = layers.Dropout(dropout)(layers.GlobalAveragePooling2D(name="pool")(features))
    return layers.Dense(classes, activation="softmax", dtype="float32", name="head")(pooled)
