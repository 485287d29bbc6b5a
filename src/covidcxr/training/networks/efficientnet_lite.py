"""EfficientNet-Lite0 in Keras: EfficientNet (Tan and Le 2019) without squeeze-and-excitation and with ReLU6.

Layout and input scaling as published by Google with the EfficientNet-Lite release of March 2020 (Apache-2.0).
"""

from importlib.resources import as_file, files
from typing import NamedTuple

import keras
from keras import layers

from covidcxr.errors import RecipeError
from covidcxr.training.networks.blocks import classification_head, rescaling


class Stage(NamedTuple):
    """Sequence of inverted residual blocks; ``stride`` is that of the first."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM_FILTERS, TOP_FILTERS = 32, 1280
MEAN, STDDEV = 127.0, 128.0
"""Normalisation of grey values 0..255 in the ImageNet training."""
WEIGHTS = "efficientnet_lite0_imagenet.weights.h5"


def efficientnet_lite0(*, size: int, classes: int, weights: str | None, dropout: float) -> keras.Model:
    """Build EfficientNet-Lite0 for greyscale images with a classification head.

    Args:
        size: Side of the square input in pixels; 224 in the ImageNet training.
        classes: Number of classes.
        weights: ``imagenet`` (ships with the package, see research/convert_efficientnet_lite0.py) or None.
        dropout: Share of the pooled features dropped in training.

    Returns:
        Model from uint8 (N, size, size, 1) to float32 (N, classes).

    Raises:
        RecipeError: There are no such weights.
    """
    backbone = load_backbone(size, weights)
    probabilities = classification_head(backbone.output, classes=classes, dropout=dropout)
    return keras.Model(backbone.input, probabilities, name="efficientnet_lite0")


def load_backbone(size: int, weights: str | None) -> keras.Model:
    """Build the feature extractor with the weights ``imagenet``, or with random ones for None.

    Raises:
        RecipeError: There are no such weights.
    """
    backbone = build_backbone(size)
    if weights == "imagenet":
        with as_file(files("covidcxr.training.networks") / WEIGHTS) as path:
            backbone.load_weights(path)
    elif weights is not None:
        raise RecipeError(f"Expected weights 'imagenet' or none for EfficientNet-Lite0. Received {weights!r}.")
    return backbone


def build_backbone(size: int) -> keras.Model:
    """Build the feature extractor: uint8 (N, size, size, 1) to float32 (N, size / 32, size / 32, 1280).

    It has one input channel: with the three ImageNet kernels of the stem summed, the result equals that of a greyscale
    image in three identical channels.
    """
    image = keras.Input((size, size, 1), dtype="uint8", name="image")
    x = rescaling(1 / STDDEV, -MEAN / STDDEV)(image)
    x = _normalised(layers.Conv2D(STEM_FILTERS, 3, 2, padding="same", use_bias=False, name="stem")(x), "stem")
    for number, stage in enumerate(STAGES):
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            x = _block(x, stage._replace(stride=stride), f"stage{number}_block{repeat}")
    x = layers.Conv2D(TOP_FILTERS, 1, use_bias=False, name="top")(x)
    return keras.Model(image, _normalised(x, "top"), name="efficientnet_lite0_backbone")


def _block(x: keras.KerasTensor, stage: Stage, name: str) -> keras.KerasTensor:
    """Add an inverted residual block: expand, depthwise convolution, project, add if the shapes agree."""
    channels = x.shape[-1]
    y = x
    if stage.expansion > 1:
        y = layers.Conv2D(channels * stage.expansion, 1, use_bias=False, name=f"{name}_expand")(y)
        y = _normalised(y, f"{name}_expand")
    depthwise = layers.DepthwiseConv2D(
        stage.kernel, stage.stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )
    y = _normalised(depthwise(y), f"{name}_depthwise")
    y = layers.Conv2D(stage.filters, 1, use_bias=False, name=f"{name}_project")(y)
    y = _normalised(y, f"{name}_project", activation=False)
    return layers.Add(name=f"{name}_add")([x, y]) if stage.stride == 1 and channels == stage.filters else y


def _normalised(x: keras.KerasTensor, name: str, *, activation: bool = True) -> keras.KerasTensor:
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x) if activation else x
