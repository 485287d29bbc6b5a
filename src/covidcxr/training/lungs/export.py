"""The lung networks (covidcxr.training.networks): their input, and the export of the first."""

import json
from dataclasses import asdict
from pathlib import Path

import keras
import onnx

from covidcxr import DISCLAIMER, __version__
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.prediction.artifact import LUNGS
from covidcxr.prediction.lungs import METADATA_KEY
from covidcxr.training.export import convert, save_checked

PREPROCESSING = Preprocessing(size=128, crop=1.0, equalize=True)
"""The whole picture; equalised, because window and gamma of the collections differ."""
CELLS_PREPROCESSING = Preprocessing(size=224, crop=0.8, equalize=True, blur=1.5)
"""That of the recipe ``default``: the cells are found in the picture that its network sees."""
TOLERANCE = 1e-4
"""Largest difference of a probability between Keras and the exported file."""
LICENCE = "Apache-2.0; trained on lung masks of V7 Labs (CC BY 4.0) for images of covid-chestxray-dataset, see NOTICE"


def export(model: keras.Model, out: Path, *, data_hash: str) -> None:
    """Write a trained lung network as ONNX file for covidcxr.prediction.lungs and check the file against Keras.

    Args:
        model: As lung_unet makes it, with the size of PREPROCESSING.
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
    save_checked(proto, serving, out, size=PREPROCESSING.size, tolerance=TOLERANCE)
