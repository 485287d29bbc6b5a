"""The lung network: a small U-Net, and its export."""

import json
from dataclasses import asdict
from pathlib import Path

import keras
import onnx
from keras import layers

from covidcxr import DISCLAIMER, __version__
from covidcxr.errors import ArtifactError
from covidcxr.export import convert, parity
from covidcxr.images import Preprocessing
from covidcxr.lung_masks import LUNGS, METADATA_KEY

PREPROCESSING = Preprocessing(size=128, crop=1.0, equalize=True)
"""The whole picture; equalised, because window and gamma of the collections differ."""
TOLERANCE = 1e-4
"""Largest difference of a probability between Keras and the exported file."""
LICENCE = "Apache-2.0; trained on lung masks of V7 Labs (CC BY 4.0) for images of covid-chestxray-dataset, see NOTICE"


def unet(*, size: int = PREPROCESSING.size, channels: int = 8) -> keras.Model:
    """U-Net (Ronneberger et al. 2015) with batch normalisation and zero padding, four levels deep.

    Args:
        size: Side of the square input in pixels, a multiple of 16.
        channels: Of the first level; every level doubles them, up to eight times as many.

    Returns:
        Model from uint8 (N, size, size, 1) to float32 (N, size, size, 1), the probability of lung.
    """
    image = keras.Input((size, size, 1), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(image)
    widths = [channels * factor for factor in (1, 2, 4, 8)]
    skipped = []
    for width in widths:
        x = _twice(x, width)
        skipped.append(x)
        x = layers.MaxPooling2D()(x)
    x = _twice(x, widths[-1])
    for width, skip in zip(reversed(widths), reversed(skipped), strict=True):
        x = _twice(layers.Concatenate()([layers.UpSampling2D()(x), skip]), width)
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid", name=LUNGS)(x), name="lung_unet")


def _twice(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    for _ in range(2):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return x


def export(model: keras.Model, out: Path, *, data_hash: str) -> None:
    """Write a trained lung network as ONNX file for covidcxr.lung_masks and check the file against Keras.

    Args:
        model: As ``unet`` makes it, with the size of PREPROCESSING.
        out: The file; it appears only when it has passed the check.
        data_hash: Of what it was trained on.

    Raises:
        ArtifactError: The file differs from Keras by more than TOLERANCE.
    """
    serving = keras.Model(model.input, {LUNGS: model.output})
    proto = convert(serving, PREPROCESSING.size)
    about = {"preprocessing": asdict(PREPROCESSING), "covidcxr": __version__, "data_hash": data_hash}
    about |= {"licence": LICENCE, "intended_use": DISCLAIMER}
    onnx.helper.set_model_props(proto, {METADATA_KEY: json.dumps(about, sort_keys=True)})
    partial = out.with_name(out.name + ".part")
    onnx.save(proto, partial)
    difference = parity(serving, partial, size=PREPROCESSING.size)
    if difference > TOLERANCE:
        partial.unlink()
        raise ArtifactError(f"Expected {out} to equal Keras to {TOLERANCE}. Received a difference of {difference:.1e}.")
    partial.replace(out)
