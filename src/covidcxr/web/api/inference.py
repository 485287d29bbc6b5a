"""The Open Inference Protocol, version 2, over REST, with its binary tensor data extension.

https://github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md), and for tensors after the
JSON https://github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md). A request contains one
of the two INPUTS; the predictor is the same as for all other predictions. Not covered: gRPC, model repositories,
statistics, several versions of a model, compressed bodies.
"""

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, json, jsonify, request
from flask.typing import ResponseReturnValue

from covidcxr import __version__
from covidcxr.errors import ImageError
from covidcxr.web.api.tensors import HEADER_LENGTH
from covidcxr.web.http.health import Readiness
from covidcxr.web.http.problems import problem
from covidcxr.web.scorer import UploadScorer

if TYPE_CHECKING:
    from covidcxr.labels import Label
    from covidcxr.prediction.predictor import Prediction, Predictor
    from covidcxr.web.api.tensors import InferenceRequest, Tensor

MODEL = "covidcxr"
"""Name of the model in the protocol; its version is the hash of the model file."""
INPUTS = [
    {"name": "image", "datatype": "BYTES", "shape": [-1]},
    {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 1]},
]
OUTPUTS = ("probabilities", "label", "flags")


def create_inference(scorer: UploadScorer, readiness: Readiness, *, max_images: int) -> Blueprint:
    """Create the blueprint of the protocol; see covidcxr.web.app.create_app for the arguments."""
    inference = Blueprint("inference", __name__, url_prefix="/v2")
    served = _version(scorer.predictor)
    reading = Lock()  # JSON takes many times its bytes in memory, so requests are parsed one at a time

    def check(name: str, version: str | None) -> None:
        if name != MODEL:
            abort(404, f"Expected the model {MODEL}. Received another name.")
        if version not in (None, served):
            abort(404, f"Expected the version {served}. Received another one.")

    @inference.get("")
    def server() -> ResponseReturnValue:
        """Describe the server."""
        return jsonify(name="covidcxr", version=__version__, extensions=["binary_tensor_data"])

    @inference.get("/health/live")
    def live() -> ResponseReturnValue:
        """Report that the server runs."""
        return jsonify(live=True)

    @inference.get("/health/ready")
    @inference.get("/models/<name>/ready")
    @inference.get("/models/<name>/versions/<version>/ready")
    def ready(name: str = MODEL, version: str | None = None) -> ResponseReturnValue:
        """Report whether the server answers predictions."""
        check(name, version)
        reason = readiness.reason()
        return problem(503, reason) if reason else jsonify(name=name, ready=True)

    @inference.get("/models/<name>")
    @inference.get("/models/<name>/versions/<version>")
    def metadata(name: str, version: str | None = None) -> ResponseReturnValue:
        """Describe the model."""
        check(name, version)
        return jsonify(_metadata(scorer.predictor.artifact.labels, served))

    @inference.post("/models/<name>/infer")
    @inference.post("/models/<name>/versions/<version>/infer")
    def infer(name: str, version: str | None = None) -> ResponseReturnValue:
        """Score images."""
        from covidcxr.web.api.tensors import InferenceRequest, TensorError  # here: most servers never receive one

        check(name, version)
        body = request.get_data(cache=False, parse_form_data=False)
        try:
            with reading:
                asked_for = InferenceRequest.parse(body, request.headers.get(HEADER_LENGTH), OUTPUTS, max_images)
        except TensorError as error:
            abort(400, str(error))
        del body
        try:
            predictions = [
                scorer.score(image, f"image {n} of the request")[1] for n, image in enumerate(asked_for.images)
            ]
        except ImageError as error:
            abort(422, str(error))
        return _answer(scorer.predictor, predictions, asked_for)

    return inference


def _version(predictor: "Predictor") -> str:
    return predictor.model.partition("@")[2]


def _metadata(labels: "Sequence[Label]", version: str) -> dict[str, Any]:
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


def _tensors(predictions: "Sequence[Prediction]", labels: "Sequence[Label]") -> "dict[str, Tensor]":
    """Return OUTPUTS, one row for each prediction."""
    from covidcxr.web.api.tensors import Tensor

    return {
        "probabilities": Tensor.of_numbers([[item.probabilities[label] for label in labels] for item in predictions]),
        "label": Tensor.of_texts([item.label or "" for item in predictions]),
        "flags": Tensor.of_texts([",".join(flag.code for flag in item.flags) for item in predictions]),
    }


def _answer(
    predictor: "Predictor", predictions: "Sequence[Prediction]", asked_for: "InferenceRequest"
) -> ResponseReturnValue:
    """Write the requested outputs, as JSON or as bytes after it."""
    from covidcxr.web.api.tensors import write

    labels = predictor.artifact.labels
    answer = {
        "model_name": MODEL,
        "model_version": _version(predictor),
        **({"id": asked_for.id} if asked_for.id is not None else {}),
        "parameters": {"labels": ",".join(labels), "model": predictor.model},
    }
    tensors, outputs, rest = _tensors(predictions, labels), [], b""
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
