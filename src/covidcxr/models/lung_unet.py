"""The network that finds the lungs: U-Net (Ronneberger et al. 2015)."""

from importlib.resources import as_file, files

import keras
from keras import layers

from covidcxr.artifact import LUNGS
from covidcxr.models.rescaling import rescaling
from covidcxr.models.upsampling import doubled

WEIGHTS = "lungs.weights.h5"


def lung_unet(*, size: int, channels: int = 8, weights: str | None = None) -> keras.Model:
    """U-Net with batch normalisation and zero padding, four levels deep.

    Args:
        size: Side of the square input in pixels, a multiple of 16. The weights were trained at 128.
        channels: Of the first level; every level doubles them, up to eight times as many.
        weights: ``lungs`` (ships with the package, made by ``covidcxr lungs train``) or None for random ones.

    Returns:
        Model from uint8 (N, size, size, 1), a picture with its histogram equalised, to float32 (N, size, size, 1), the
        probability of lung.
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
    model = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid", name=LUNGS)(x), name="lung_unet")
    if weights is not None:
        with as_file(files("covidcxr.models") / WEIGHTS) as path:
            model.load_weights(path)
    return model


def _twice(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    for _ in range(2):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return x
