"""One table describes a prediction: JSON, its schema and flat tables agree."""

import json

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from covidcxr.images.phantom import radiograph
from covidcxr.labels import LABELS
from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.fields import FIELDS, ColumnType, cell, columns, error_object, error_schema, prediction_schema
from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.verdict import Audit, Finding, Verdict
from support.small_models import with_metadata

GREY = radiograph(np.random.default_rng(0), size=(128, 128))


@pytest.fixture(scope="module")
def full(lung_model_file):
    """A model that has everything a prediction can hold."""
    bounds = {"scores": (0.0,), "low": (0.1,), "high": (0.9,)}
    conformal = Conformal(coverage=0.9, thresholds=(0.1, 0.9, 0.9), images=(5,) * 3, **bounds)
    finding = Finding(test="a", verdict=Verdict.WARN, value=1, low=0, high=1, says="It warns.")
    audit = Audit(date="2026-01-01", data_hash="0", findings=(finding,))
    path = lung_model_file.with_name("full.onnx")
    return Predictor.load(with_metadata(lung_model_file, path, conformal=conformal, audit=audit))


@pytest.mark.parametrize("model", ["full", "predictor"])
@pytest.mark.parametrize("grey", [GREY, np.zeros_like(GREY)])
def test_json_is_as_its_schema_says(request, model, grey):
    schema = prediction_schema()
    Draft202012Validator.check_schema(schema)
    answer = request.getfixturevalue(model).predict(grey).to_dict("a.png")
    Draft202012Validator({**schema, "additionalProperties": False}).validate(json.loads(json.dumps(answer)))
    assert list(answer) == ["path", *(field.name for field in FIELDS)]
    Draft202012Validator(error_schema()).validate(error_object("a.png", "broken"))


def test_a_table_has_a_column_for_everything_but_sentences(full):
    answer = full.predict(GREY).to_dict("a.png")
    row = {column.name: column.value(answer) for column in columns(full.artifact)}
    assert list(row) == [
        *("path", "label", *LABELS, "screening", "balanced", "interval_low", "interval_high", "prediction_set"),
        *("abstained", "reason", "flags", "lung_share", "model", "audit", "error"),
    ]
    assert {name: row[name] for name in LABELS} == answer["probabilities"]
    assert row["screening"] is answer["operating_points"]["screening"]["positive"]
    assert (row["interval_low"], row["interval_high"]) == (0.1, 0.9)
    assert row["flags"] == [flag["code"] for flag in answer["flags"]]
    assert (row["audit"], row["path"], row["error"]) == (Verdict.WARN, "a.png", None)
    kinds = {column.name: column.type for column in columns(full.artifact)}
    python = {ColumnType.TEXT: str, ColumnType.TEXTS: (list, tuple), ColumnType.NUMBER: float, ColumnType.BOOLEAN: bool}
    assert all(value is None or isinstance(value, python[kinds[name]]) for name, value in row.items())


def test_a_row_of_an_error_is_empty_but_for_its_path_and_reason(predictor):
    row = {column.name: column.value(error_object("a", "broken")) for column in columns(predictor.artifact)}
    assert {name: value for name, value in row.items() if value is not None} == {"path": "a", "error": "broken"}


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (True, "true"), (False, "false"), (["a", "b"], "a b"), ((), ""), (0.5, 0.5)]
)
def test_cells_of_csv(value, text):
    assert cell(value) == text
