"""The JSON API, version 1: predictions, and information about the model."""

import base64
from dataclasses import asdict
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from flask import Blueprint, abort, jsonify, request
from flask.typing import ResponseReturnValue
from PIL import Image
from werkzeug.datastructures import FileStorage

from covidcxr import DISCLAIMER
from covidcxr.errors import ImageError
from covidcxr.images.grey import Grey
from covidcxr.web.http.problems import problem
from covidcxr.web.patient import read_patient
from covidcxr.web.scorer import UploadScorer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covidcxr.prediction.predictor import ActivationMap, Predictor

FIELD = "file"
EXTRAS = ("activation_map", "lungs", "patient", "preview")
"""Values of ``include``: members beyond those of ``predict --json``, described in openapi.yaml."""
PREVIEW_SIDE = 1024
"""Pixels of the longer side of a preview."""
MAP_DIGITS = 4
"""Decimal places of the values of maps."""


def create_api(scorer: UploadScorer, *, max_files: int) -> Blueprint:
    """Create the blueprint of version 1; see covidcxr.web.app.create_app for the arguments."""
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
        detail = errors[0] if len(errors) == 1 else f"None of the {len(errors)} files is an image."
        return problem(422, detail, files=objects)

    @api.get("/model")
    def model() -> ResponseReturnValue:
        """Describe the model."""
        return jsonify(model_object(scorer.predictor))

    return api


def model_object(predictor: "Predictor") -> dict[str, Any]:
    """Return the metadata of a model file as JSON."""
    artifact = predictor.artifact
    names = ("name", "version", "created", "licence", "intended_use", "recipe", "data_hash", "temperature")
    return {
        "model": predictor.model,
        "card": {**{name: getattr(artifact, name) for name in names}, "disclaimer": DISCLAIMER},
        "labels": artifact.labels,
        "preprocessing": asdict(artifact.preprocessing),
        "operating_points": [asdict(point) for point in artifact.operating_points],
        "coverage": artifact.conformal.coverage if artifact.conformal else None,
        "gate": [asdict(check) for check in artifact.gate],
        "audit": {"verdict": artifact.audit.verdict, **asdict(artifact.audit)} if artifact.audit else None,
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


def _score(scorer: UploadScorer, upload: FileStorage, include: frozenset[str]) -> dict[str, Any]:
    name = upload.filename or ""
    data = content_of(upload)
    if not name:
        return {"path": name, "error": "Expected a file name. Received an empty one."}
    try:
        grey, prediction = scorer.score(data, name)
    except ImageError as error:
        return {"path": name, "error": str(error)}
    answer = prediction.to_dict(name)
    if "activation_map" in include:
        answer["activation_map"] = _map_object(prediction.activation_map)
    if "lungs" in include:
        answer["lungs"] = _lungs_object(prediction.activation_map)
    if "patient" in include:
        answer["patient"] = read_patient(data)
    if "preview" in include:
        answer["preview"] = preview(grey)
    return answer


def content_of(upload: FileStorage) -> bytes:
    """Return the content of an upload and free the upload."""
    data = cast(BytesIO, upload.stream).getvalue()  # from MemoryRequest; read() would copy
    upload.close()
    return data


def preview(grey: Grey) -> str:
    """Return an image, its longer side at most PREVIEW_SIDE pixels, as a data URL of a PNG.

    Args:
        grey: uint8, shape (height, width).
    """
    image = Image.fromarray(grey)
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BICUBIC)
    png = BytesIO()
    image.save(png, "PNG", compress_level=1)  # level 6 takes four times as long and saves a fifth
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode("ascii")


def _map_object(activation_map: "ActivationMap | None") -> dict[str, Any] | None:
    if activation_map is None:
        return None
    contrast = activation_map.contrast
    return {
        "values": _rows(activation_map.values),
        "contrast": None if contrast is None else _rows(contrast),
        "box": activation_map.box,
    }


def _lungs_object(activation_map: "ActivationMap | None") -> dict[str, Any] | None:
    if activation_map is None or activation_map.lungs is None:
        return None
    return {"values": _rows(activation_map.lungs), "box": activation_map.box}


def _rows(values: "NDArray[np.float32]") -> list[list[float]]:
    return [[round(value, MAP_DIGITS) for value in row] for row in values.tolist()]
