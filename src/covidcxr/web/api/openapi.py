"""The OpenAPI description of the interfaces, made from operations.yaml and the vocabularies of the package.

Imported when somebody asks for the description: nothing else needs it.
"""

from copy import deepcopy
from importlib.resources import files
from typing import Any

import yaml
from apispec import APISpec
from apispec_webframeworks.flask import FlaskPlugin
from flask import Flask

from covidcxr import DISCLAIMER, __version__
from covidcxr.labels import LABELS, PointName
from covidcxr.prediction.flags import FlagCode
from covidcxr.prediction.verdict import Verdict
from covidcxr.web.api import inference
from covidcxr.web.http.access_log import HEADER, WELL_FORMED
from covidcxr.web.http.guard import OPEN
from covidcxr.web.http.problems import MEDIA_TYPE

Schema = dict[str, Any]

ABOUT = f"""**{DISCLAIMER}**

Nothing uploaded is stored. Errors are problem details (RFC 9457). A server can be set up to want a bearer token, and to
answer 429 with `Retry-After` to those who ask too often. Every answer has the header `{HEADER}`: the request's own, if
it is well-formed, or a new one.
"""
TAGS = {
    "predictions": "Images to probabilities.",
    "reports": "One image on a page, or as a DICOM report.",
    "model": "What is known about the model.",
    "inference": "The same predictions by the Open Inference Protocol, version 2.",
    "operation": "For those who run the server.",
}

SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "array", "items": TEXT}
LABEL: Schema = {"type": "string", "enum": [str(label) for label in LABELS]}
SHARES: Schema = {"type": "array", "items": {"type": "array", "items": SHARE}}
INTERVAL: Schema = {"type": "array", "items": SHARE, "minItems": 2, "maxItems": 2}
BOX: Schema = {**INTERVAL, "minItems": 4, "maxItems": 4}
SHAPE: Schema = {"type": "array", "items": {"type": "integer"}}
PARAMETERS: Schema = {"type": "object"}
ADDRESSES: dict[str, Schema] = {
    "name": {"example": inference.MODEL},
    "asked": {"description": "The version: one of `versions` in the metadata of the model."},
}
"""What is told of the parameters in addresses."""


def object_of(properties: dict[str, Schema], *, optional: tuple[str, ...] = (), **more: Any) -> Schema:  # noqa: ANN401
    """Return the schema of an object: all of its properties are required but the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties, **more}


def or_null(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def reference(name: str) -> Schema:
    """Return a reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


MAP = object_of(
    {
        "values": {**SHARES, "description": "1 is the strongest evidence of this image for the predicted class."},
        "contrast": or_null(
            {
                "type": "array",
                "items": {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}},
                "description": "Above 0 what speaks for COVID-19, below what speaks for another pneumonia.",
            }
        ),
        "box": {**BOX, "description": "Left, top, right, bottom of the map as shares of the image."},
    }
)
PREDICTION = object_of(
    {
        "path": {**TEXT, "description": "The name of the file as it was sent."},
        "label": or_null({**LABEL, "description": "The most probable class; null where the model declines."}),
        "probabilities": {"type": "object", "additionalProperties": SHARE, "propertyNames": LABEL},
        "interval": or_null({**INTERVAL, "description": "Of the probability of COVID-19."}),
        "prediction_set": or_null({"type": "array", "items": LABEL, "description": "Classes that remain possible."}),
        "operating_points": {
            "type": "object",
            "propertyNames": {"enum": [str(name) for name in PointName]},
            "additionalProperties": object_of({"threshold": SHARE, "positive": {"type": "boolean"}}),
        },
        "abstained": {"type": "boolean", "description": "Whether the model declines to answer."},
        "reason": or_null({**TEXT, "description": "Why it declines."}),
        "flags": {
            "type": "array",
            "items": object_of({"code": {"type": "string", "enum": [str(code) for code in FlagCode]}, "text": TEXT}),
        },
        "lung_share": or_null({**SHARE, "description": "Share of the activation map that lies in the lungs."}),
        "model": {**TEXT, "description": "Name of the model and hash of its file."},
        "audit": or_null(object_of({"verdict": {"enum": [str(v) for v in Verdict]}, "date": TEXT, "says": TEXTS})),
        "activation_map": or_null(MAP),
        "lungs": or_null(object_of({"values": SHARES, "box": BOX})),
        "patient": or_null({"type": "object", "additionalProperties": TEXT}),
        "preview": {**TEXT, "description": "A PNG as a data URL."},
    },
    optional=("activation_map", "lungs", "patient", "preview"),
)
PROBLEM = object_of(
    {
        "type": {"type": "string", "format": "uri-reference"},
        "title": TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {**TEXT, "description": "What was expected, and what was received."},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string", "pattern": f"^{WELL_FORMED.pattern}$"},
        "error": {**TEXT, "description": "As `detail`; under /v2, as its protocol has it."},
    },
    optional=("error",),
)
FILE_ERROR = object_of({"path": TEXT, "error": TEXT})
MODEL = object_of(
    {
        "model": TEXT,
        "card": object_of(dict.fromkeys(("name", "version", "created", "licence", "intended_use", "disclaimer"), TEXT)),
        "labels": {"type": "array", "items": LABEL},
        "preprocessing": {"type": "object"},
        "operating_points": {"type": "array", "items": {"type": "object"}},
        "coverage": or_null({**SHARE, "description": "Share of images whose prediction set holds their class."}),
        "gate": {"type": "array", "items": {"type": "object"}},
        "audit": or_null({"type": "object"}),
    }
)
TENSOR = object_of(
    {
        "name": TEXT,
        "datatype": {"type": "string", "enum": ["BYTES", "UINT8", "FP32"]},
        "shape": SHAPE,
        "parameters": PARAMETERS,
        "data": {"type": "array"},
    },
    optional=("parameters", "data"),
)
INPUT = {
    "anyOf": [
        object_of(
            {
                "name": {"const": "image"},
                "datatype": {"const": "BYTES"},
                "shape": {**SHAPE, "minItems": 1, "maxItems": 1},
                "data": {"type": "array", "items": {"type": "string", "contentEncoding": "base64"}},
            },
            optional=("data",),
        ),
        object_of(
            {
                "name": {"const": "pixels"},
                "datatype": {"const": "UINT8"},
                "shape": {**SHAPE, "minItems": 4, "maxItems": 4},
                "data": {"type": "array", "description": "Flat, row by row, or nested as the shape says."},
            },
            optional=("data",),
        ),
    ]
}
SCHEMAS: dict[str, Schema] = {
    "Prediction": PREDICTION,
    "FileError": FILE_ERROR,
    "Problem": PROBLEM,
    "FilesProblem": {
        "allOf": [reference("Problem"), object_of({"files": {"type": "array", "items": reference("FileError")}})]
    },
    "Model": MODEL,
    "Health": object_of({"status": {"enum": ["ok", "ready"]}, "model": TEXT}),
    "InferenceServer": object_of({"name": TEXT, "version": TEXT, "extensions": TEXTS}),
    "InferenceModel": object_of(
        {
            "name": TEXT,
            "versions": TEXTS,
            "platform": TEXT,
            "inputs": {"type": "array", "items": reference("Tensor")},
            "outputs": {"type": "array", "items": reference("Tensor")},
            "parameters": PARAMETERS,
        }
    ),
    "Tensor": TENSOR,
    "InferenceRequest": object_of(
        {
            "id": TEXT,
            "parameters": PARAMETERS,
            "inputs": {"type": "array", "items": INPUT, "minItems": 1, "maxItems": 1},
            "outputs": {
                "type": "array",
                "items": object_of({"name": TEXT, "parameters": PARAMETERS}, optional=("parameters",)),
            },
        },
        optional=("id", "parameters", "outputs"),
    ),
    "InferenceResponse": object_of(
        {
            "model_name": TEXT,
            "model_version": TEXT,
            "id": TEXT,
            "parameters": PARAMETERS,
            "outputs": {"type": "array", "items": reference("Tensor")},
        },
        optional=("id",),
    ),
}


def describe(app: Flask) -> Schema:
    """Return the description of an application: all of its views that operations.yaml names by their endpoints."""
    operations = yaml.safe_load((files("covidcxr.web") / "operations.yaml").read_text("utf-8"))
    spec = APISpec(
        title="covidcxr",
        version=__version__,
        openapi_version="3.1.0",
        info={
            "description": ABOUT,
            "summary": "Predictions for frontal chest X-rays.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        security=[{"token": []}, {}],
    )
    for name, schema in SCHEMAS.items():
        spec.components.schema(name, schema)
    spec.components.response(
        "Problem",
        {"description": "A problem.", "content": {MEDIA_TYPE: {"schema": reference("Problem")}}},
    )
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    seen: set[str] = set()
    for rule in app.url_map.iter_rules():
        if rule.endpoint in operations:
            operation = deepcopy(operations[rule.endpoint])  # a view may have several addresses
            path = FlaskPlugin.flaskpath2openapi(rule.rule)
            method = "post" if "POST" in (rule.methods or ()) else "get"
            name = operation["operationId"]
            operation["operationId"] = name if name not in seen else f"{name}At{path.count('/')}"
            seen.add(name)
            spec.path(path=path, operations={method: _completed(path, method, operation)})
    described: Schema = spec.to_dict()
    return described


def _completed(path: str, method: str, operation: Schema) -> Schema:
    """Add what holds for all views: the parameters in their addresses, and what the guard and the server answer."""
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [
        {"in": "path", "name": name, "required": True, "schema": TEXT, **ADDRESSES.get(name, {})} for name in names
    ]
    codes = ["500", *([] if path in OPEN else ["401"]), *(["408", "429"] if method == "post" else [])]
    problems = {code: {"$ref": "#/components/responses/Problem"} for code in codes}
    return {
        **operation,
        "parameters": [*parameters, *operation.get("parameters", [])],
        "responses": {str(code): answer for code, answer in operation["responses"].items()} | problems,
    }
