"""Fixtures that several tests share: the real data where they are, and a tiny model whose behaviour is known."""

import hashlib
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from covidcxr.data.manifest import Record, Split, View
from covidcxr.images.phantom import Opacity, radiograph
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.labels import LABELS, Label, PointName
from covidcxr.prediction.artifact import ACTIVATION_MAP, INPUT, LUNGS, PROBABILITIES, Artifact, OperatingPoint
from covidcxr.prediction.predictor import Predictor

BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start, also where the tests run as a background job that ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real collections; skips the test where there is none, except in CI."""
    root = Path(os.environ.get("COVIDCXR_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"Expected the real collections in {root} (COVIDCXR_DATA). Received no such folder.")
        pytest.skip(f"no real collections in {root} (set COVIDCXR_DATA)")
    return root


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with the whole contract and a network whose answers are plain to see.

    The covid map is the brightness (0..1) of each 32 px cell above 0.5, the normal map its negative, the pneumonia map
    zero; probabilities are the softmax of the maps' means: a bright image is covid, a dark one normal. Covid has 0.33
    at a brightness of 0.5, between its two operating points.
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
            operating_point(PointName.SCREENING, threshold=0.3, sensitivity=0.96, specificity=0.7),
            operating_point(PointName.BALANCED, threshold=0.36, sensitivity=0.85, specificity=0.9),
        ),
    )
    helper.set_model_props(model, artifact.to_metadata())
    path = tmp_path_factory.mktemp("model") / "brightness.onnx"
    onnx.save(model, path)
    return path


def operating_point(name: PointName, **shares: float) -> OperatingPoint:
    """Return an operating point as a model file has it."""
    intervals = {"sensitivity_interval": (0.8, 0.99), "specificity_interval": (0.6, 0.95)}
    return OperatingPoint(name=name, images=100, groups=90, **shares, **intervals)


@pytest.fixture(scope="session")
def lung_model_file(model_file: Path) -> Path:
    """Return the tiny model with the output ``lungs``: columns 1, 2, 4 and 5 of its 7 are lung, in every image."""
    model = onnx.load(model_file)
    columns = np.tile(np.array([0, 1, 1, 0, 1, 1, 0], np.float32), (7, 1))[np.newaxis, ..., np.newaxis]
    model.graph.initializer.append(numpy_helper.from_array(columns, "columns"))
    model.graph.node.append(helper.make_node("Identity", ["columns"], [LUNGS]))
    model.graph.output.append(helper.make_tensor_value_info(LUNGS, TensorProto.FLOAT, [1, 7, 7, 1]))
    path = model_file.with_name("lungs.onnx")
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def plain_model_file(model_file: Path) -> Path:
    """Return the tiny model without operating points."""
    return with_metadata(model_file, model_file.with_name("plain.onnx"), operating_points=())


@pytest.fixture(scope="session")
def mapless_model_file(model_file: Path) -> Path:
    """Return the tiny model without an activation map."""
    proto = onnx.load(model_file)
    kept = [output for output in proto.graph.output if output.name != ACTIVATION_MAP]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    out = model_file.with_name("mapless.onnx")
    onnx.save(proto, out)
    return out


def with_metadata(model_file: Path, out: Path, **changes: Any) -> Path:
    """Copy a model file with other values in its contract."""
    model = onnx.load(model_file)
    artifact = Artifact.from_metadata({entry.key: entry.value for entry in model.metadata_props}, str(model_file))
    helper.set_model_props(model, replace(artifact, **changes).to_metadata())
    onnx.save(model, out)
    return out


@pytest.fixture(scope="session")
def predictor(model_file: Path) -> Predictor:
    """Return the tiny model, loaded."""
    return Predictor.load(model_file)


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """A small data set of synthetic radiographs: 20 patients a class, two sources; covid ones hold opacities."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    made = []
    for number in range(60):
        label = LABELS[number % 3]
        spots = [Opacity(x=x, y=0.6, radius=0.12, strength=0.5) for x in (0.3, 0.7)] if label is Label.COVID else []
        grey = radiograph(rng, size=(96, 80), opacities=spots)
        path = folder / f"{number}.png"
        Image.fromarray(grey).save(path)
        made.append(
            Record(
                id=f"synthetic/{number}",
                path=path,
                source="kermany" if number % 2 else "nih",
                origin="kermany" if number % 2 else "nih",
                patient_id=f"p{number}",
                finding=label,
                label=label,
                view=View.PA,
                age=40.0,
                sex="F",
                licence="Apache-2.0",
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                width=80,
                height=96,
                group=f"g{number}",
                split=Split.TEST if number >= 45 else Split.TRAIN,
            )
        )
    return made


def small_recipe(**changes: object) -> str:
    """Return a recipe that trains in seconds: the classic network at 32 px on covid against normal."""
    values: dict[str, object] = {
        "labels": ["normal", "covid"],
        "architecture": "seed_cnn",
        "size": 32,
        "folds": 0,
        "phases": '{ trainable = "all", epochs = 3, learning_rate = 1e-3 }',
    }
    values |= changes
    selections = ", ".join(f'{{ label = "{label}" }}' for label in values["labels"])
    return f"""
name = "small"
description = "For tests."
[data]
select = [{selections}]
[preprocessing]
size = {values["size"]}
crop = 0.9
equalize = true
[model]
architecture = "{values["architecture"]}"
[augmentation]
flip = true
rotation = 5
contrast = 0.1
[training]
seed = 3
batch_size = 8
validation_folds = {values["folds"]}
class_weights = true
phases = [{values["phases"]}]
"""


def robust_recipe(**changes: object) -> str:
    """Return a recipe that computes its head in seconds: the network that pools over the lungs, at 64 px."""
    values = {"labels": LABELS, "architecture": "lung_pooled", "size": 64, "phases": "PHASES"}
    settings = "{ within = 1.0, opacities = 10.0, contrast = 0.5, inverse_regularisation = 0.01 }"
    return small_recipe(**values | changes).replace("phases = [PHASES]", f"robust_head = {settings}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a process, which can run one Playwright only."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("Expected chromium on the path. Received none.")
        pytest.skip("no chromium on the path (Debian package chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER)
        yield browser
        browser.close()
