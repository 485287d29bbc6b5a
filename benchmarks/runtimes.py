"""What other arithmetic and another runtime would give: int8 in ONNX Runtime, and OpenVINO in fp32 and bf16.

int8 is static: weights per channel, activations by their ranges over CALIBRATION training images. With weights of eight
bits, x86 processors without VNNI add products in 16 bits that overflow, so that the same file gives other numbers; with
seven bits it gives the same everywhere. Each variant scores held-out patients of the training collections (no external
image) and works flat out on all cores. OpenVINO is no dependency of the project: ``pip install openvino`` first. Writes
benchmarks/runtimes.json and its table in the docs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from run import HERE, machine, picture
from speed import MODEL, cores, flat_out, in_turn, milliseconds

from covidcxr.data.manifest import Record, Split, read_manifest
from covidcxr.evaluation.scoring import score
from covidcxr.evaluation.summary import as_json, discrimination
from covidcxr.images.decode import decode_image, read_image
from covidcxr.prediction.artifact import EMBEDDING, INPUT
from covidcxr.prediction.predictor import Predictor

CALIBRATION = 200
LAYERS = ["Conv", "Clip", "Relu", "Add", "Concat", "MaxPool"]
"""What works in integers. Without the activation functions the ranges would be those before them, far wider."""


class Images(CalibrationDataReader):  # type: ignore[misc] # ONNX Runtime has no types
    """Preprocessed images, one at a time: uint8, shape (n, size, size, 1)."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next feed, None after the last."""
        image = next(self._left, None)
        return None if image is None else {INPUT: image[np.newaxis]}


class OpenVino:
    """The part of ONNX Runtime's session that covidcxr.prediction.predictor uses, by OpenVINO: a stream a core."""

    def __init__(self, path: Path, precision: str) -> None:
        core = import_module("openvino").Core()
        settings = {"INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": False}
        settings |= {"INFERENCE_NUM_THREADS": cores(), "NUM_STREAMS": cores()}
        self._compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
        self._outputs = {output.get_any_name(): output for output in self._compiled.outputs}
        self._own = local()

    def get_outputs(self) -> Sequence[Any]:
        """Return what has the name of each output."""
        return session(MODEL).get_outputs()

    def run(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
        """Return outputs by name."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        self._own.request.start_async({0: feeds[INPUT]}, share_inputs=True)
        self._own.request.wait()
        return [np.array(self._own.request.results[self._outputs[name]]) for name in names]


def session(path: Path) -> ort.InferenceSession:
    """Load a network as the server does, on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def quantised(records: Sequence[Record], predictor: Predictor, folder: Path, *, bits: int) -> Path:
    """Write the shipped network in int8, with weights of so many bits, 7 or 8."""
    chosen = np.random.default_rng(0).permutation(len(records))[:CALIBRATION]
    images = np.stack([predictor.artifact.preprocessing(read_image(records[one].path)) for one in chosen])
    prepared, out = folder / "prepared.onnx", folder / f"int8-{bits}.onnx"
    quant_pre_process(str(MODEL), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(out),
        Images(images[..., np.newaxis]),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=LAYERS,
        per_channel=True,
        reduce_range=bits == 7,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return out


def variants(records: Sequence[Record], folder: Path) -> dict[str, Predictor]:
    """Return the shipped model on each runtime."""
    shipped = Predictor.load(threads=1)
    train = [record for record in records if record.split is Split.TRAIN]
    sessions = {
        "ONNX Runtime, fp32 (shipped)": session(MODEL),
        "ONNX Runtime, int8": session(quantised(train, shipped, folder, bits=8)),
        "ONNX Runtime, int8, weights of 7 bits": session(quantised(train, shipped, folder, bits=7)),
        "OpenVINO, fp32": OpenVino(MODEL, "f32"),
        "OpenVINO, bf16": OpenVino(MODEL, "bf16"),
    }
    return {name: Predictor(one, shipped.artifact, name) for name, one in sessions.items()}


def main() -> None:
    """Score, time, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="the one that the shipped model was trained on")
    records = read_manifest(parser.parse_args().manifest)
    test, png = [record for record in records if record.split is Split.TEST], picture()
    grey = decode_image(png, "picture")
    with tempfile.TemporaryDirectory() as folder:
        found = variants(records, Path(folder))
        names = sorted(next(iter(found.values())).outputs - {EMBEDDING})
        alone = in_turn(
            {name: lambda one=one: milliseconds(lambda: one.run([grey], names)) for name, one in found.items()},
            "one image",
        )
        per_s = in_turn(
            {
                name: lambda one=one: flat_out(lambda: one.predict(decode_image(png, "picture")))
                for name, one in found.items()
            },
            "flat out",
        )
        scores = {name: score(one, test) for name, one in found.items()}
    shipped = next(iter(scores.values())).y_score
    results = {
        "machine": machine(),
        "versions": {name: version(name) for name in ("onnxruntime", "openvino")},
        "model": Predictor.load().model,
        "test": {"n": len(test), "patients": len({record.group for record in test})},
        "calibration": CALIBRATION,
        "variants": {
            name: {
                "ms": alone[name],
                "per_s": per_s[name],
                "auroc": as_json(discrimination(one))["auroc"],
                "difference": {
                    "median": float(np.median(np.abs(one.y_score - shipped).max(axis=1))),
                    "largest": float(np.abs(one.y_score - shipped).max()),
                    "other_label": float(np.mean(one.y_score.argmax(axis=1) != shipped.argmax(axis=1))),
                },
            }
            for name, one in scores.items()
        },
    }
    (HERE / "runtimes.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    subprocess.run([sys.executable, str(HERE.parent / "scripts" / "write_figures.py")], check=True)


if __name__ == "__main__":
    main()
