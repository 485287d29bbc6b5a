"""The JSON interface, version 1: predictions, and what is known about the model that makes them."""

from io import BytesIO
from typing import Any, cast

from flask import Blueprint, abort, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage

from covidcxr import DISCLAIMER
from covidcxr.errors import ImageError
from covidcxr.web.engine import Engine
from covidcxr.web.http.problems import problem
from covidcxr.web.scorer import Scorer

FIELD = "file"
EXTRAS = ("activation_map", "lungs", "patient", "preview")
"""What ``include`` may ask for beyond the objects of ``predict --json``; covidcxr.web.api.openapi says what each is."""


def create_api(scorer: Scorer, *, max_files: int) -> Blueprint:
    """Make the blueprint of version 1; see covidcxr.web.app.create_app for the arguments."""
    api = Blueprint("api", __name__, url_prefix="/api/v1")

    @api.post("/predictions")
    def predictions() -> ResponseReturnValue:
        """Score one or more images.

        A file that cannot be scored becomes an object of ``path`` and ``error``, if any other file can.
        """
        uploads = _uploads(max_files)
        include = _included()
        objects = [_score(scorer, upload, include) for upload in uploads]
        errors = [item["error"] for item in objects if "error" in item]
        if len(errors) < len(objects):
            return jsonify(objects)
        detail = errors[0] if len(errors) == 1 else f"Expected an image. Received {len(errors)} files that are none."
        return problem(422, detail, files=objects)

    @api.get("/model")
    def model() -> ResponseReturnValue:
        """Tell what is known about the model."""
        return jsonify(model_object(scorer.engine))

    return api


def model_object(engine: Engine) -> dict[str, Any]:
    """Return what the model file says about itself, as JSON has it."""
    artifact = engine.artifact
    names = ("name", "version", "created", "licence", "intended_use", "recipe", "data_hash", "temperature")
    return {
        "model": engine.model,
        "card": {**{name: artifact[name] for name in names}, "disclaimer": DISCLAIMER},
        "labels": artifact["labels"],
        "preprocessing": artifact["preprocessing"],
        "operating_points": artifact["operating_points"],
        "coverage": artifact["conformal"]["coverage"] if artifact["conformal"] else None,
        "gate": artifact["gate"],
        "audit": artifact["audit"],
    }


def _uploads(max_files: int) -> list[FileStorage]:
    if request.mimetype != "multipart/form-data":  # checked first: other bodies are not read at all
        abort(400, f"Expected multipart/form-data. Received {request.mimetype or 'no content type'}.")
    uploads = request.files.getlist(FIELD)
    if not uploads:
        abort(400, f"Expected one or more images in the field '{FIELD}'. Received none.")
    if not any(upload.filename for upload in uploads):
        abort(400, f"Expected one or more images in the field '{FIELD}'. Received an empty file name.")
    if len(uploads) > max_files:
        abort(400, f"Expected at most {max_files} images in one request. Received {len(uploads)}.")
    return uploads


def _included() -> frozenset[str]:
    values = request.args.getlist("include") + request.form.getlist("include")
    names = frozenset(name.strip() for value in values for name in value.split(",") if name.strip())
    unknown = sorted(names.difference(EXTRAS))
    if unknown:
        abort(400, f"Expected include to name some of {', '.join(EXTRAS)}. Received {', '.join(unknown)}.")
    return names


def _score(scorer: Scorer, upload: FileStorage, include: frozenset[str]) -> dict[str, Any]:
    name = upload.filename or ""
    data = cast(BytesIO, upload.stream).getvalue()  # MemoryRequest made it; read() would copy
    upload.close()
    if not name:
        return {"path": name, "error": "Expected a file name. Received an empty one."}
    try:
        return scorer.score(data, name, include)
    except ImageError as error:
        return {"path": name, "error": str(error)}
