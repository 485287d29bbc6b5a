import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto

from covidcxr.data.manifest import write_manifest
from covidcxr.errors import RecipeError
from covidcxr.training.devices import Devices, Machine
from covidcxr.training.export import TOLERANCE, export, parity, serving_model
from covidcxr.training.fit import HISTORY, load_run, train
from covidcxr.training.networks import build
from support.small_recipes import small_recipe

MIXED = Machine(mixed_precision=True)
HEAD = '{ trainable = "head", epochs = 4, learning_rate = 1e-2 }'
TWO_DEVICES = """
import sys
from pathlib import Path

import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from covidcxr.training.devices import Devices, Machine
from covidcxr.data.manifest import read_manifest
from covidcxr.training.fit import train

folder = Path(sys.argv[1])
machine = Machine(devices=Devices.ALL)
assert machine.strategy().num_replicas_in_sync == 2
train(read_manifest(folder / "manifest.csv"), (folder / "recipe.toml").read_text(), folder / "two", machine=machine)
"""


def test_mixed_precision_computes_in_float16_below_a_float32_head():
    with MIXED.precision():
        model = build("efficientnet_lite0", size=64, classes=3, weights=None, dropout=0)
    assert model.get_layer("stage3_block0_expand").compute_dtype == "float16"
    assert model.get_layer("head").compute_dtype == model.output.dtype == "float32"
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_mixed_precision_learns_and_exports_float32(records, tmp_path):
    recipe = small_recipe(architecture="efficientnet_lite0", size=64, phases=HEAD)
    recipe = recipe.replace("[augmentation]", 'weights = "imagenet"\n[augmentation]')
    train(records, recipe, tmp_path / "run", machine=MIXED)
    loss = pd.read_csv(tmp_path / "run" / HISTORY)["loss"]
    assert loss.iloc[-1] < loss.iloc[0]
    model, _ = load_run(tmp_path / "run")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    export(tmp_path / "run", tmp_path / "model.onnx")
    assert parity(serving_model(model), tmp_path / "model.onnx", size=64) <= TOLERANCE
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert TensorProto.FLOAT16 not in {weights.data_type for weights in graph.initializer}
    assert {output.type.tensor_type.elem_type for output in graph.output} == {TensorProto.FLOAT}


def test_a_run_goes_on_with_its_own_machine_settings_only(records, tmp_path):
    recipe = small_recipe(phases='{ trainable = "all", epochs = 1, learning_rate = 1e-3 }')
    train(records, recipe, tmp_path / "run")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["machine"] == {"mixed_precision": False, "devices": "one"}
    assert len(about["devices"]) == 1
    for other in (MIXED, Machine(devices=Devices.ALL)):
        with pytest.raises(RecipeError, match=r"same run.*Received"):
            train(records, recipe, tmp_path / "run", machine=other)


def test_one_device_or_all_of_one_is_the_plain_strategy():
    for devices in Devices:
        assert Machine(devices=devices).strategy().num_replicas_in_sync == 1


@pytest.mark.slow
def test_two_devices_learn_what_one_learns(records, tmp_path):
    """Two logical CPUs in a process of their own: 22 images in batches of 7 leave odd batches and a last one of 1.

    Without dropout both sides must see the same gradients, so the networks agree as far as float32 does.
    """
    recipe = small_recipe(architecture="efficientnet_lite0", phases=HEAD, folds=4).replace("= 8\n", "= 7\n")
    write_manifest(records, tmp_path / "manifest.csv")
    (tmp_path / "recipe.toml").write_text(recipe)
    script = [sys.executable, "-c", TWO_DEVICES, str(tmp_path)]
    found = subprocess.run(script, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    train(records, recipe, tmp_path / "one")
    two, one = (load_run(tmp_path / name)[0].get_weights() for name in ("two", "one"))
    for a, b in zip(two, one, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    histories = [pd.read_csv(Path(tmp_path, name, HISTORY)) for name in ("two", "one")]
    assert np.allclose(histories[0]["loss"], histories[1]["loss"], rtol=0.05)
    assert json.loads((tmp_path / "two" / "run.json").read_text())["machine"]["devices"] == "all"
