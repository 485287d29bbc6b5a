"""U-Net that finds the lungs (Ronneberger et al. 2015)."""

import keras
from keras import layers

from covidcxr.prediction.artifact import LUNGS
from covidcxr.training.networks.blocks import doubled, rescaling


def lung_unet(*, size: int, channels: int = 8) -> keras.Model:
    """Build a U-Net with batch normalisation and zero padding, four levels deep.

    Args:
        size: Side of the square input in pixels, a multiple of 16.
        channels: Channels of the first level, doubled at each further level.

    Returns:
        Model from images with equalised histogram, uint8 (N, size, size, 1), to the probability of lung, float32
        (N, size, size, 1).
    """
    image = keras.Input((size, size, 1), dtype="uint8", name="image")
    x = rescaling(1 / 255)(image)
    widths = [channels * factor for factor in (1, 2, 4, 8)]
    skipped = []
    for width in widths:
        x = _twice(x, width)
        skipped.append(x)
        x = layers.MaxPooling2D()(x)
    x = _twice(x, widths[-1])
    for width, skip in zip(reversed(widths), reversed(skipped), strict=True):
        x = _twice(layers.Concatenate()([doubled(x), skip]), width)
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid", name=LUNGS)(x), name="lung_unet")


def _twice(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    for _ in range(2):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return x
