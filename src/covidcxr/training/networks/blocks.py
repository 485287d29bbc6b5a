"""Layers that several networks share: classification head, rescaling, upsampling."""

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


def rescaling(scale: float, offset: float = 0.0) -> layers.Layer:
    """Return the layer that multiplies by ``scale`` and adds ``offset``.

    As arrays of four dimensions: ONNX Runtime takes 25 times as long for a plain number where the last of a picture's
    dimensions is 1.
    """
    return layers.Rescaling([[[[scale]]]], offset=[[[[offset]]]])


def doubled(x: keras.KerasTensor) -> keras.KerasTensor:
    """Repeat every value in both directions: float32, shape (N, h, w, channels), to (N, 2h, 2w, channels).

    The same as ``keras.layers.UpSampling2D``, which turns into a chain of a dozen slower nodes in an ONNX file.
    """
    _, height, width, channels = x.shape
    columns = keras.ops.reshape(keras.ops.concatenate([x, x], axis=-1), (-1, height, 2 * width * channels))
    rows = keras.ops.concatenate([columns, columns], axis=-1)
    return keras.ops.reshape(rows, (-1, 2 * height, 2 * width, channels))
