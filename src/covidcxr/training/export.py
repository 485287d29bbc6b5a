"""Export of a finished run to MODEL.onnx: network, class activation map and metadata in one file."""

import datetime
import math
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from keras import layers

from covidcxr import DISCLAIMER, __version__
from covidcxr._files import whole
from covidcxr.errors import ArtifactError
from covidcxr.prediction.artifact import ACTIVATION_MAP, EMBEDDING, GATE, INPUT, LUNGS, PROBABILITIES, Artifact
from covidcxr.prediction.session import open_session
from covidcxr.recipes.run_folder import RECIPE, read_run
from covidcxr.training.calibration import Calibration, calibrate
from covidcxr.training.fit import VALIDATION, load_run
from covidcxr.training.gate.features import GATE_FILE, gate_scores, picture_features
from covidcxr.training.gate.fit import Gate

OPSET = 18
TOLERANCE = 1e-5
"""Largest difference between Keras and the exported file, relative to the peak of an output if that is above 1."""
PARITY_BATCHES = (1, 7)
"""Batch sizes of the comparison."""
WEIGHTS_LICENCE = "Apache-2.0; trained on collections with their own terms, see NOTICE"


def export(run: Path, out: Path) -> None:
    """Export a finished run and compare the file with Keras.

    A run with validation groups is calibrated on them. A gate that was trained for the run is included.

    Args:
        run: Run folder of ``covidcxr train``.
        out: ONNX file to write; it appears only after it has passed the comparison.

    Raises:
        RecipeError: The run is missing, not finished or unreadable.
        ArtifactError: The file differs from Keras by more than TOLERANCE.
    """
    model, recipe = load_run(run)
    calibration = calibrate(run / VALIDATION) if (run / VALIDATION).exists() else Calibration()
    gate = Gate.load(run / GATE_FILE) if (run / GATE_FILE).exists() else None
    serving = serving_model(model, temperature=calibration.temperature, gate=gate)
    proto = convert(serving, recipe.preprocessing.size)
    artifact = Artifact(
        name=f"covidcxr-{recipe.name}",
        version=__version__,
        labels=recipe.labels,
        preprocessing=recipe.preprocessing,
        recipe=(run / RECIPE).read_text("utf-8"),
        data_hash=read_run(run)["data_hash"],
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        licence=WEIGHTS_LICENCE,
        intended_use=DISCLAIMER,
        temperature=calibration.temperature,
        operating_points=calibration.operating_points,
        conformal=calibration.conformal,
        gate=gate.checks if gate else (),
    )
    onnx.helper.set_model_props(proto, artifact.to_metadata())
    save_checked(proto, serving, out, size=recipe.preprocessing.size, tolerance=TOLERANCE)


def save_checked(proto: onnx.ModelProto, serving: keras.Model, out: Path, *, size: int, tolerance: float) -> None:
    """Write a converted model; the file appears only if it agrees with Keras.

    Args:
        proto: Result of ``convert(serving, size)``.
        serving: Model in Keras.
        out: ONNX file; its folder is created if missing.
        size: Side of the square input in pixels.
        tolerance: Largest difference; see parity.

    Raises:
        ArtifactError: The file differs from Keras by more than ``tolerance``.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole(out) as partial:
        onnx.save(proto, partial)
        difference = parity(serving, partial, size=size)
        if difference > tolerance:
            raise ArtifactError(
                f"Expected {out} to equal Keras to {tolerance}. Received a difference of {difference:.1e}."
            )


def serving_model(model: keras.Model, *, temperature: float = 1.0, gate: Gate | None = None) -> keras.Model:
    """Return the model as served; covidcxr.prediction.artifact describes its outputs.

    Weights and bias of the last layer are divided by the temperature, which divides the scores before softmax or
    sigmoid at no cost. The activation map of a class applies these weights and bias in every cell of the last features,
    so that its mean is the class's score before softmax, temperature included (Zhou et al. 2016).

    Args:
        model: Trained network of covidcxr.training.networks; it is not changed.
        temperature: Temperature, above 0; 1 changes nothing.
        gate: Gate for the output ``gate``; None leaves the output out.

    Returns:
        Model from uint8 (N, size, size, 1) to a dict of float32 arrays.
    """
    last = model.layers[-1]
    kernel, bias = (weights / np.float32(temperature) for weights in last.get_weights())
    head = layers.Dense.from_config(last.get_config())
    probabilities = head(last.input)
    head.set_weights([kernel, bias])
    if probabilities.shape[-1] == 1:
        probabilities = layers.Concatenate(name=PROBABILITIES)([1.0 - probabilities, probabilities])
    outputs = {PROBABILITIES: probabilities, EMBEDDING: last.input}
    named = {layer.name for layer in model.layers}
    if LUNGS in named:
        outputs[LUNGS] = model.get_layer(LUNGS).output
    if "pool" in named:
        convolution = layers.Conv2D(kernel.shape[1], 1, name=ACTIVATION_MAP)
        outputs[ACTIVATION_MAP] = convolution(model.get_layer("pool").input)
        convolution.set_weights([kernel[np.newaxis, np.newaxis], bias])
    if gate:
        outputs[GATE] = gate_scores(picture_features(model), gate)
    return keras.Model(model.input, outputs)


def convert(serving: keras.Model, size: int) -> onnx.ModelProto:
    """Convert a model from uint8 (N, size, size, 1) to a dict, whose keys become the names of the ONNX outputs."""
    signature = [tf.TensorSpec((None, size, size, 1), tf.uint8, name=INPUT)]
    function = tf.function(lambda image: serving(image, training=False), input_signature=signature)
    proto: onnx.ModelProto
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    onnx.checker.check_model(proto)
    return proto


def parity(serving: keras.Model, path: Path, *, size: int) -> float:
    """Return the largest difference between Keras and an exported file on random images; see TOLERANCE.

    It is infinite if either gives NaN or infinity.
    """
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]
    worst = 0.0
    for batch in PARITY_BATCHES:
        images = np.random.default_rng(batch).integers(0, 256, (batch, size, size, 1), np.uint8)
        expected = serving(images, training=False)
        for name, received in zip(names, session.run(names, {INPUT: images}), strict=True):
            of_keras = np.asarray(expected[name])
            if not (np.isfinite(of_keras).all() and np.isfinite(received).all()):
                return math.inf
            scale = max(1.0, float(np.abs(received).max()))
            worst = max(worst, float(np.abs(of_keras - received).max()) / scale)
    return worst
