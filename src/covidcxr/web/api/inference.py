"""The Open Inference Protocol, version 2, over REST, with its binary tensor data extension.

https://github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md), and for tensors after the
JSON https://github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md). A request holds one of
two inputs, INPUTS; the answer is made by the same predictor as all other predictions here. Not covered: gRPC, model
repositories, statistics, several versions of a model, compressed bodies.
"""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, json, jsonify, request
from flask.typing import ResponseReturnValue

from covidcxr import __version__
from covidcxr.errors import ImageError
from covidcxr.web.api.tensors import HEADER_LENGTH
from covidcxr.web.engine import Engine
from covidcxr.web.http.health import Readiness
from covidcxr.web.http.problems import problem
from covidcxr.web.scorer import Scorer

if TYPE_CHECKING:
    from covidcxr.web.api.tensors import InferenceRequest, Tensor

MODEL = "covidcxr"
"""What the protocol calls the model; its version is the hash of the model file."""
INPUTS = [
    {"name": "image", "datatype": "BYTES", "shape": [-1]},
    {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 1]},
]
OUTPUTS = ("probabilities", "label", "flags")


def create_inference(scorer: Scorer, readiness: Readiness, *, max_images: int) -> Blueprint:
    """Make the blueprint of the protocol; see covidcxr.web.app.create_app for the arguments."""
    inference = Blueprint("inference", __name__, url_prefix="/v2")
    version = _version(scorer.engine)
    reading = Lock()  # JSON takes many times its bytes in memory, so one request at a time is read

    def check(name: str, asked: str | None) -> None:
        if name != MODEL:
            abort(404, f"Expected the model {MODEL}. Received another name.")
        if asked not in (None, version):
            abort(404, f"Expected the version {version}. Received another.")

    @inference.get("")
    def server() -> ResponseReturnValue:
        """Describe the server."""
        return jsonify(name="covidcxr", version=__version__, extensions=["binary_tensor_data"])

    @inference.get("/health/live")
    def live() -> ResponseReturnValue:
        """Tell that the server lives."""
        return jsonify(live=True)

    @inference.get("/health/ready")
    @inference.get("/models/<name>/ready")
    @inference.get("/models/<name>/versions/<asked>/ready")
    def ready(name: str = MODEL, asked: str | None = None) -> ResponseReturnValue:
        """Tell whether predictions are answered."""
        check(name, asked)
        reason = readiness.reason()
        return problem(503, reason) if reason else jsonify(name=name, ready=True)

    @inference.get("/models/<name>")
    @inference.get("/models/<name>/versions/<asked>")
    def metadata(name: str, asked: str | None = None) -> ResponseReturnValue:
        """Describe the model."""
        check(name, asked)
        return jsonify(_metadata(scorer.engine.artifact["labels"], version))

    @inference.post("/models/<name>/infer")
    @inference.post("/models/<name>/versions/<asked>/infer")
    def infer(name: str, asked: str | None = None) -> ResponseReturnValue:
        """Score images."""
        from covidcxr.web.api.tensors import InferenceRequest, TensorError  # here: most servers never see one

        check(name, asked)
        body = request.get_data(cache=False, parse_form_data=False)
        try:
            with reading:
                asked_for = InferenceRequest.parse(body, request.headers.get(HEADER_LENGTH), OUTPUTS, max_images)
        except TensorError as error:
            abort(400, str(error))
        del body
        try:
            answers = [scorer.score(image, f"image {n} of the request") for n, image in enumerate(asked_for.images)]
        except ImageError as error:
            abort(422, str(error))
        return _answer(scorer.engine, answers, asked_for)

    return inference


def _version(engine: Engine) -> str:
    return engine.model.partition("@")[2]


def _metadata(labels: Sequence[str], version: str) -> dict[str, Any]:
    outputs = [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(labels)]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "flags", "datatype": "BYTES", "shape": [-1]},
    ]
    return {
        "name": MODEL,
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": INPUTS,
        "outputs": outputs,
        "parameters": {"labels": ",".join(labels)},
    }


def _tensors(answers: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> "dict[str, Tensor]":
    """Return OUTPUTS, one row a prediction."""
    from covidcxr.web.api.tensors import Tensor

    return {
        "probabilities": Tensor.of_numbers([[item["probabilities"][label] for label in labels] for item in answers]),
        "label": Tensor.of_texts([item["label"] or "" for item in answers]),
        "flags": Tensor.of_texts([",".join(flag["code"] for flag in item["flags"]) for item in answers]),
    }


def _answer(engine: Engine, answers: Sequence[Mapping[str, Any]], asked_for: "InferenceRequest") -> ResponseReturnValue:
    """Write the outputs that were asked for, as JSON or as bytes after it."""
    from covidcxr.web.api.tensors import write

    labels = engine.artifact["labels"]
    answer = {
        "model_name": MODEL,
        "model_version": _version(engine),
        **({"id": asked_for.id} if asked_for.id is not None else {}),
        "parameters": {"labels": ",".join(labels), "model": engine.model},
    }
    tensors, outputs, rest = _tensors(answers, labels), [], b""
    for name, binary in asked_for.outputs.items():
        output, data = write(name, tensors[name], binary=binary)
        outputs.append(output)
        rest += data
    head = json.dumps({**answer, "outputs": outputs}).encode()
    if not rest:
        return Response(head, content_type="application/json")
    response = Response(head + rest, content_type="application/octet-stream")
    response.headers[HEADER_LENGTH] = str(len(head))
    return response
