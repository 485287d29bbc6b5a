import json

import keras
import onnx
import pandas as pd
import pytest
from onnx import TensorProto

from covidcxr.errors import RecipeError
from covidcxr.training.export import TOLERANCE, export, parity, serving_model
from covidcxr.training.fit import HISTORY, load_run, train
from covidcxr.training.networks import build
from covidcxr.training.precision import precision
from support.small_networks import few_blocks
from support.small_recipes import small_recipe

HEAD = '{ trainable = "head", epochs = 4, learning_rate = 1e-2 }'


def test_mixed_precision_computes_in_float16_below_a_float32_head():
    with precision(mixed=True):
        model = build("efficientnet_lite0", size=64, classes=3, weights="imagenet", dropout=0)
    assert model.get_layer("stage3_block0_expand").compute_dtype == "float16"
    assert model.get_layer("head").compute_dtype == model.output.dtype == "float32"
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_mixed_precision_learns_and_exports_float32(records, tmp_path):
    recipe = small_recipe(architecture="efficientnet_lite0", size=64, phases=HEAD)
    with few_blocks():
        train(records, recipe, tmp_path / "run", mixed_precision=True)
    loss = pd.read_csv(tmp_path / "run" / HISTORY)["loss"]
    assert loss.iloc[-1] < loss.iloc[0]
    model, _ = load_run(tmp_path / "run")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    export(tmp_path / "run", tmp_path / "model.onnx")
    assert parity(serving_model(model), tmp_path / "model.onnx", size=64) <= TOLERANCE
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert TensorProto.FLOAT16 not in {weights.data_type for weights in graph.initializer}
    assert {output.type.tensor_type.elem_type for output in graph.output} == {TensorProto.FLOAT}


def test_a_run_is_resumed_with_its_own_precision_only(records, tmp_path, monkeypatch):
    monkeypatch.setattr("covidcxr.training.fit._fit", lambda *_: None)
    recipe = small_recipe(phases='{ trainable = "all", epochs = 1, learning_rate = 1e-3 }')
    train(records, recipe, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["mixed_precision"] is False
    with pytest.raises(RecipeError, match=r"same run.*Received"):
        train(records, recipe, tmp_path / "run", mixed_precision=True)
