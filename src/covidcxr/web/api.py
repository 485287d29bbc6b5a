"""The JSON interface: ``POST /api/v1/predictions``."""

import base64
from io import BytesIO
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, cast

from flask import Blueprint, abort, jsonify, request
from flask.typing import ResponseReturnValue
from PIL import Image
from werkzeug.datastructures import FileStorage

from covidcxr.errors import ImageError
from covidcxr.images import Grey, decode_image
from covidcxr.web.patient import read_patient

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covidcxr.predictor import ActivationMap, Predictor

FIELD = "file"
EXTRAS = ("activation_map", "lungs", "patient", "preview")
"""What ``include`` may ask for beyond the objects of ``predict --json``."""
PREVIEW_SIDE = 1024
"""Pixels, the longer side of a preview."""
MAP_DIGITS = 4


def create_api(predictor: "Predictor", *, max_files: int, parallel: int) -> Blueprint:
    """Make the blueprint of version 1; see covidcxr.web.app.create_app for the arguments.

    ``POST /api/v1/predictions`` takes a multipart form with one or more images in the field ``file`` and answers with
    a list of the objects that ``covidcxr predict --json`` prints, in the order of the files. ``include``, a query or
    form field with names from EXTRAS (commas between, or several fields), adds:

    - ``activation_map``: null or an object of ``values`` (rows of numbers 0..1), ``contrast`` (null or rows of numbers
      -1..1, above 0 what speaks for COVID-19, below what speaks for another pneumonia) and ``box`` (left, top, right,
      bottom of the map as shares of the image's width and height).
    - ``lungs``: null or an object of ``values`` (rows of numbers 0..1, the probability of lung in each cell of the map)
      and ``box``, as above.
    - ``patient``: null (no DICOM) or an object of what the header says of the patient, see covidcxr.web.patient.
      Without asking, nothing of it is in any answer.
    - ``preview``: the decoded image, its longer side at most PREVIEW_SIDE, as a data URL of a PNG.

    A file that cannot be scored becomes an object of ``path`` and ``error``; the status is 200 if any file was scored.

    ============  ====================================================================================
    status        body
    ============  ====================================================================================
    200           the list
    400           ``error``: no file, no file name, too many files, an unknown ``include``, not multipart
    404, 405      ``error``
    413           ``error``: more bytes, or parts, than one request may have
    422           ``error``, and ``files``: the list of the objects, where no file could be scored
    500           ``error``
    ============  ====================================================================================
    """
    api = Blueprint("api", __name__, url_prefix="/api/v1")
    slots = BoundedSemaphore(parallel)

    @api.post("/predictions")
    def predictions() -> ResponseReturnValue:
        uploads = _uploads(max_files)
        include = _included()
        objects = []
        for upload in uploads:
            with slots:
                objects.append(_score(predictor, upload, include))
        errors = [item["error"] for item in objects if "error" in item]
        if len(errors) < len(objects):
            return jsonify(objects)
        message = errors[0] if len(errors) == 1 else f"Expected an image. Received {len(errors)} files that are none."
        return jsonify(error=message, files=objects), 422

    return api


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


def _score(predictor: "Predictor", upload: FileStorage, include: frozenset[str]) -> dict[str, Any]:
    name = upload.filename or ""
    data = cast(BytesIO, upload.stream).getvalue()  # MemoryRequest made it; read() would copy
    upload.close()
    if not name:
        return {"path": name, "error": "Expected a file name. Received an empty one."}
    try:
        grey = decode_image(data, name)
    except ImageError as error:
        return {"path": name, "error": str(error)}
    prediction = predictor.predict(grey)
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


def _map_object(activation_map: "ActivationMap | None") -> dict[str, Any] | None:
    if activation_map is None:
        return None
    contrast = activation_map.contrast
    return {
        "values": _rows(activation_map.values),
        "contrast": None if contrast is None else _rows(contrast),
        "box": list(activation_map.box),
    }


def _lungs_object(activation_map: "ActivationMap | None") -> dict[str, Any] | None:
    if activation_map is None or activation_map.lungs is None:
        return None
    return {"values": _rows(activation_map.lungs), "box": list(activation_map.box)}


def _rows(values: "NDArray[np.float32]") -> list[list[float]]:
    return [[round(value, MAP_DIGITS) for value in row] for row in values.tolist()]


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
