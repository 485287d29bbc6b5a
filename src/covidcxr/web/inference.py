"""The Open Inference Protocol, version 2, over REST, with its binary tensor data extension.

https://github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md), and for tensors after the
JSON https://github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md). A request holds one of
two inputs, INPUTS; the answer is made by the same predictor as all other predictions here. Not covered: gRPC, model
repositories, statistics, several versions of a model, compressed bodies.
"""

from threading import Lock
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, json, jsonify, request
from flask.typing import ResponseReturnValue

from covidcxr import __version__
from covidcxr.errors import ImageError
from covidcxr.web.health import Readiness
from covidcxr.web.problems import problem
from covidcxr.web.scorer import Scorer

if TYPE_CHECKING:
    from covidcxr.predictor import Prediction
    from covidcxr.web.tensors import Image, InferenceRequest, Tensor

MODEL = "covidcxr"
"""What the protocol calls the model; its version is the hash of the model file."""
INPUTS = [
    {"name": "image", "datatype": "BYTES", "shape": [-1]},
    {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 1]},
]
OUTPUTS = ("probabilities", "label", "flags")
HEADER_LENGTH = "Inference-Header-Content-Length"
"""Header with the bytes of JSON where tensors follow it."""


def create_inference(scorer: Scorer, readiness: Readiness, *, max_images: int) -> Blueprint:
    """Make the blueprint of the protocol; see covidcxr.web.app.create_app for the arguments."""
    inference = Blueprint("inference", __name__, url_prefix="/v2")
    version = scorer.predictor.model.partition("@")[2]
    reading = Lock()  # JSON takes many times its bytes in memory, so one request at a time is read

    def check(name: str, asked: str | None) -> None:
        if name != MODEL:
            abort(404, f"Expected the model {MODEL}. Received another name.")
        if asked not in (None, version):
            abort(404, f"Expected the version {version}. Received another.")

    @inference.get("")
    def server() -> ResponseReturnValue:
        """Describe the server.

        ---
        operationId: v2Server
        summary: Server metadata
        tags: [inference]
        responses:
          200:
            description: Name, version and extensions of the server.
            content: {application/json: {schema: {$ref: "#/components/schemas/InferenceServer"}}}
        """
        return jsonify(name="covidcxr", version=__version__, extensions=["binary_tensor_data"])

    @inference.get("/health/live")
    def live() -> ResponseReturnValue:
        """Tell that the server lives.

        ---
        operationId: v2Live
        summary: Whether the server lives
        tags: [inference]
        responses:
          200:
            description: It does.
            content: {application/json: {schema: {type: object, properties: {live: {const: true}}}}}
        """
        return jsonify(live=True)

    @inference.get("/health/ready")
    @inference.get("/models/<name>/ready")
    @inference.get("/models/<name>/versions/<asked>/ready")
    def ready(name: str = MODEL, asked: str | None = None) -> ResponseReturnValue:
        """Tell whether predictions are answered.

        ---
        operationId: v2Ready
        summary: Whether predictions are answered
        tags: [inference]
        responses:
          200:
            description: They are.
            content: {application/json: {schema: {type: object, properties: {ready: {const: true}}}}}
          404: {$ref: "#/components/responses/Problem"}
          503: {$ref: "#/components/responses/Problem"}
        """
        check(name, asked)
        reason = readiness.reason()
        return problem(503, reason) if reason else jsonify(name=name, ready=True)

    @inference.get("/models/<name>")
    @inference.get("/models/<name>/versions/<asked>")
    def metadata(name: str, asked: str | None = None) -> ResponseReturnValue:
        """Describe the model.

        ---
        operationId: v2Model
        summary: Model metadata
        tags: [inference]
        responses:
          200:
            description: Inputs and outputs of the model.
            content: {application/json: {schema: {$ref: "#/components/schemas/InferenceModel"}}}
          404: {$ref: "#/components/responses/Problem"}
        """
        check(name, asked)
        labels = scorer.predictor.artifact.labels
        outputs = [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(labels)]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "flags", "datatype": "BYTES", "shape": [-1]},
        ]
        return jsonify(
            name=MODEL,
            versions=[version],
            platform="onnxruntime_onnx",
            inputs=INPUTS,
            outputs=outputs,
            parameters={"labels": ",".join(labels)},
        )

    @inference.post("/models/<name>/infer")
    @inference.post("/models/<name>/versions/<asked>/infer")
    def infer(name: str, asked: str | None = None) -> ResponseReturnValue:
        """Score images.

        ---
        operationId: v2Infer
        summary: Score images
        description: >-
          One input: `image`, BYTES of shape [n], image files in base64, or `pixels`, UINT8 of shape [n, height, width,
          1], grey values, 0 is black. Outputs: `probabilities`, FP32 of shape [n, classes] in the order of the
          parameter `labels`; `label`, BYTES of shape [n], empty where the model declines; `flags`, BYTES of shape [n],
          their codes with commas between. Tensors may follow the JSON as bytes (header
          `Inference-Header-Content-Length`). One image that cannot be scored refuses the request.
        tags: [inference]
        requestBody:
          required: true
          content:
            application/json: {schema: {$ref: "#/components/schemas/InferenceRequest"}}
        responses:
          200:
            description: The outputs.
            content:
              application/json: {schema: {$ref: "#/components/schemas/InferenceResponse"}}
              application/octet-stream: {schema: {type: string, format: binary}}
          400: {$ref: "#/components/responses/Problem"}
          404: {$ref: "#/components/responses/Problem"}
          413: {$ref: "#/components/responses/Problem"}
          422: {$ref: "#/components/responses/Problem"}
        """
        from covidcxr.web.tensors import InferenceRequest, Tensor, TensorError  # here: most servers never see one

        check(name, asked)
        body = request.get_data(cache=False, parse_form_data=False)
        try:
            with reading:
                asked_for = InferenceRequest.parse(body, request.headers.get(HEADER_LENGTH), OUTPUTS, max_images)
        except TensorError as error:
            abort(400, str(error))
        del body
        try:
            predictions = [_score(scorer, image, index) for index, image in enumerate(asked_for.images)]
        except ImageError as error:
            abort(422, str(error))
        labels = scorer.predictor.artifact.labels
        tensors = {
            "probabilities": Tensor.of_numbers([[p.probabilities[label] for label in labels] for p in predictions]),
            "label": Tensor.of_texts([p.label or "" for p in predictions]),
            "flags": Tensor.of_texts([",".join(flag.code for flag in p.flags) for p in predictions]),
        }
        answer = {
            "model_name": MODEL,
            "model_version": version,
            **({"id": asked_for.id} if asked_for.id is not None else {}),
            "parameters": {"labels": ",".join(labels), "model": scorer.predictor.model},
        }
        return _answer(answer, tensors, asked_for)

    return inference


def _score(scorer: Scorer, image: "Image", index: int) -> "Prediction":
    if isinstance(image, bytes):
        return scorer.score_file(image, f"image {index} of the request")[1]
    return scorer.score(image)


def _answer(answer: dict[str, Any], tensors: "dict[str, Tensor]", asked_for: "InferenceRequest") -> ResponseReturnValue:
    """Write the outputs that were asked for, as JSON or as bytes after it."""
    from covidcxr.web.tensors import write

    outputs, rest = [], b""
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
