"""The answers of the shipped model on drawn radiographs are those on record, to the last bit.

``python tests/prediction/test_answers.py`` records them again. Do so only when the model file changes: any other
difference is a defect of the code, or of a new version of a library.
"""

import hashlib
import json
import platform
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from covidcxr.images.phantom import Opacity, radiograph
from covidcxr.prediction.predictor import Predictor

pytestmark = pytest.mark.slow

RECORD = Path(__file__).with_name("answers.json")
SIZES = [(512, 448), (1024, 896), (300, 420), (2000, 1700), (96, 96), (224, 224)]
PICTURES = 24
TOLERANCE = 1e-6
"""Where the processor or ONNX Runtime is of another kind: its kernels then add the same numbers in another order."""


def picture(seed):
    """Draw a radiograph; some are inverted, rotated, black or too small, and every other one has opacities."""
    spots = [Opacity(x=x, y=0.6, radius=0.12, strength=0.1 * (1 + seed % 7)) for x in (0.3, 0.7)] if seed % 2 else []
    grey = radiograph(np.random.default_rng(seed), size=SIZES[seed % len(SIZES)], opacities=spots)
    changes = {20: lambda: 255 - grey, 21: lambda: np.rot90(grey), 22: lambda: np.zeros_like(grey)}
    return changes.get(seed, lambda: grey)()


def digest(array):
    return None if array is None else hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def answer(predictor, seed):
    """Return what is kept of an answer: numbers and codes, but no sentences, which may be rephrased."""
    grey = picture(seed)
    prediction = predictor.predict(grey)
    kept = prediction.to_dict(str(seed))
    heat = prediction.activation_map
    outputs = predictor.run([grey], sorted(predictor.outputs))
    return {
        "outputs": {name: digest(values) for name, values in outputs.items()},
        "inputs": {"grey": digest(grey), "network": digest(predictor.artifact.preprocessing(grey))},
        "answer": {
            **{name: kept[name] for name in ("label", "probabilities", "prediction_set", "operating_points")},
            **{name: kept[name] for name in ("interval", "lung_share")},
            "flags": [flag["code"] for flag in kept["flags"]],
        },
        "map": heat
        and {**{name: digest(getattr(heat, name)) for name in ("values", "contrast", "lungs")}, "box": heat.box},
    }


def machine():
    """Return what decides about the order of additions in ONNX Runtime."""
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split()
    except OSError:
        flags = []
    return {
        "processor": platform.machine(),
        **{name: name in flags for name in ("avx2", "avx512f")},
        "onnxruntime": onnxruntime.__version__.rpartition(".")[0],
    }


def record():
    """Return the answers of the shipped model, and the file and the machine that gave them."""
    predictor = Predictor.load(threads=1)
    model = (files("covidcxr") / "assets" / "covidcxr.onnx").read_bytes()
    answers = [json.loads(json.dumps(answer(predictor, seed))) for seed in range(PICTURES)]
    return {"model": hashlib.sha256(model).hexdigest(), "machine": machine(), "answers": answers}


@pytest.fixture(scope="module")
def recorded():
    return json.loads(RECORD.read_text("utf-8"))


@pytest.fixture(scope="module")
def given():
    return record()


def test_the_model_file_is_the_one_on_record(recorded, given):
    assert given["model"] == recorded["model"]


@pytest.mark.parametrize("seed", range(PICTURES))
def test_the_answer_is_the_one_on_record(recorded, given, seed):
    expected, received = recorded["answers"][seed], given["answers"][seed]
    assert received["inputs"] == expected["inputs"]
    if given["machine"] == recorded["machine"]:
        assert received == expected
    else:
        assert flat(received["answer"]) == pytest.approx(flat(expected["answer"]), abs=TOLERANCE)


def flat(value, name=""):
    """Return the leaves of an object of objects and lists by their path, as approx needs them."""
    if isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for inner, part in pairs for key, leaf in flat(part, f"{name}.{inner}").items()}
    return {name: value}


def test_the_pictures_are_of_every_kind(recorded):
    answers = [entry["answer"] for entry in recorded["answers"]]
    assert {kind["label"] for kind in answers} == {None, "normal"}
    assert {flag for kind in answers for flag in kind["flags"]} >= {"uniform", "too_small", "child", "ct"}


def main():
    """Write the record, one answer a line."""
    made = record()
    lines = ",\n".join(json.dumps(entry) for entry in made.pop("answers"))
    head = json.dumps({"made_by": "python tests/prediction/test_answers.py", **made}, indent=1)
    RECORD.write_text(f'{head[:-2]},\n "answers": [\n{lines}\n]\n}}\n', "utf-8")


if __name__ == "__main__":
    main()
