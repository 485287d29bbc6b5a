"""Layers that several networks share: classification head, rescaling, upsampling."""

import keras
from keras import layers


def classification_head(features: keras.KerasTensor, *, classes: int, dropout: float) -> keras.KerasTensor:
    """Add global average pooling, dropout and a dense layer with softmax, always in float32 (Zhou et al. 2016).

    Args:
        features: float32 (N, h, w, channels).
        classes: Number of classes.
        dropout: Share of the pooled features dropped in training.

    Returns:
        Probabilities: float32 (N, classes).
    """
    pooled = layers.Dropout(dropout)(layers.GlobalAveragePooling2D(name="pool")(features))
    return layers.Dense(classes, activation="softmax", dtype="float32", name="head")(pooled)


def rescaling(scale: float, offset: float = 0.0) -> layers.Layer:
    """Return a layer that multiplies by ``scale`` and adds ``offset``.

    The constants have four dimensions because ONNX Runtime takes 25 times as long with a scalar if the last dimension
    of the image is 1.
    """
    return layers.Rescaling([[[[scale]]]], offset=[[[[offset]]]])


def doubled(x: keras.KerasTensor) -> keras.KerasTensor:
    """Repeat every value in both directions: float32 (N, h, w, channels) to (N, 2h, 2w, channels).

    Equals ``keras.layers.UpSampling2D``, which ONNX represents as a dozen slower nodes.
    """
    _, height, width, channels = x.shape
    columns = keras.ops.reshape(keras.ops.concatenate([x, x], axis=-1), (-1, height, 2 * width * channels))
    rows = keras.ops.concatenate([columns, columns], axis=-1)
    return keras.ops.reshape(rows, (-1, 2 * height, 2 * width, channels))
