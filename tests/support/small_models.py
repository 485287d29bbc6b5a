"""Model files that hold the whole contract, and a network whose answers can be told from the image."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from covidcxr.images.preprocessing import Preprocessing
from covidcxr.labels import LABELS, PointName
from covidcxr.prediction.artifact import ACTIVATION_MAP, INPUT, LUNGS, PROBABILITIES, Artifact, OperatingPoint


def write_brightness(path: Path) -> None:
    """Write a model that calls a bright image COVID-19 and a dark one normal.

    The covid map is the brightness (0..1) of each 32 px cell above 0.5, the normal map its negative, the pneumonia map
    zero; probabilities are the softmax of the maps' means. Covid has 0.33 at a brightness of 0.5, between its two
    operating points.
    """
    weights = np.array([[-1.0, 0.0, 1.0]], np.float32).T.reshape(3, 1, 1, 1)
    bias = np.array([0.5, 0.0, -0.5], np.float32)
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["nchw", "full"], ["unit"]),
        helper.make_node("AveragePool", ["unit"], ["cells"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("Conv", ["cells", "weights", "bias"], ["maps"]),
        helper.make_node("Transpose", ["maps"], [ACTIVATION_MAP], perm=[0, 2, 3, 1]),
        helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
        helper.make_node("Flatten", ["means"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [PROBABILITIES], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", 224, 224, 1])],
        [
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info(ACTIVATION_MAP, TensorProto.FLOAT, ["N", 7, 7, 3]),
        ],
        [
            numpy_helper.from_array(np.array(255.0, np.float32), "full"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    artifact = Artifact(
        name="brightness",
        version="0",
        labels=LABELS,
        preprocessing=Preprocessing(size=224, crop=0.9, equalize=False),
        recipe="",
        data_hash="0" * 64,
        created="2026-01-01",
        licence="Apache-2.0",
        intended_use="Tests only.",
        operating_points=(
            _operating_point(PointName.SCREENING, threshold=0.3, sensitivity=0.96, specificity=0.7),
            _operating_point(PointName.BALANCED, threshold=0.36, sensitivity=0.85, specificity=0.9),
        ),
    )
    helper.set_model_props(model, artifact.to_metadata())
    onnx.save(model, path)


def _operating_point(name: PointName, **shares: float) -> OperatingPoint:
    intervals = {"sensitivity_interval": (0.8, 0.99), "specificity_interval": (0.6, 0.95)}
    return OperatingPoint(name=name, images=100, groups=90, **shares, **intervals)


def with_lungs(model_file: Path, out: Path) -> Path:
    """Copy a model with the output ``lungs``: columns 1, 2, 4 and 5 of its 7 are lung, in every image."""
    model = onnx.load(model_file)
    columns = np.tile(np.array([0, 1, 1, 0, 1, 1, 0], np.float32), (7, 1))[np.newaxis, ..., np.newaxis]
    model.graph.initializer.append(numpy_helper.from_array(columns, "columns"))
    model.graph.node.append(helper.make_node("Identity", ["columns"], [LUNGS]))
    model.graph.output.append(helper.make_tensor_value_info(LUNGS, TensorProto.FLOAT, [1, 7, 7, 1]))
    onnx.save(model, out)
    return out


def without_map(model_file: Path, out: Path) -> Path:
    """Copy a model without its activation map."""
    model = onnx.load(model_file)
    kept = [output for output in model.graph.output if output.name != ACTIVATION_MAP]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.save(model, out)
    return out


def with_metadata(model_file: Path, out: Path, **changes: Any) -> Path:
    """Copy a model with other values in its contract."""
    model = onnx.load(model_file)
    artifact = Artifact.from_metadata({entry.key: entry.value for entry in model.metadata_props}, str(model_file))
    helper.set_model_props(model, replace(artifact, **changes).to_metadata())
    onnx.save(model, out)
    return out
