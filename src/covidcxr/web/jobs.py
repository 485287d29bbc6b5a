"""What is done with the bytes of an image: decoding, scoring, and making what a client asked for of the result.

Everything here works on plain values, which go from one process to another.
"""

import base64
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from functools import cached_property
from io import BytesIO
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covidcxr.errors import ImageError
from covidcxr.images.decode import decode_image, is_dicom
from covidcxr.images.grey import Grey
from covidcxr.web.engine import ReportError
from covidcxr.web.pages.samples import draw
from covidcxr.web.patient import read_patient

if TYPE_CHECKING:
    from covidcxr.prediction.predictor import ActivationMap, Prediction, Predictor

Answer = dict[str, Any]
"""An object as ``predict --json`` prints it."""

PREVIEW_SIDE = 1024
"""Pixels, the longer side of a preview."""
MAP_DIGITS = 4
PROBE_SIDE = 256
"""Pixels of the image that readiness is tried on, a grey ramp: one for every value."""


class LocalEngine:
    """The engine in this very process.

    Args:
        predictor: The loaded model.
        parallel: Jobs at the same time; further ones wait. Decoding a picture takes many times its bytes in memory,
            so that this, and not the number of requests, sets the peak.

    Raises:
        ValueError: ``parallel`` is below 1.
    """

    def __init__(self, predictor: "Predictor", *, parallel: int = 2) -> None:
        if parallel < 1:
            raise ValueError(f"Expected at least 1 job at a time. Received {parallel}.")
        self._predictor = predictor
        self._slots = BoundedSemaphore(parallel)

    @property
    def model(self) -> str:
        """Name and hash of the model file."""
        return self._predictor.model

    @cached_property
    def artifact(self) -> Mapping[str, Any]:
        """What the model file says about itself, see covidcxr.web.engine.Engine."""
        artifact = self._predictor.artifact
        audit = {"verdict": artifact.audit.verdict, **asdict(artifact.audit)} if artifact.audit else None
        plain: dict[str, Any] = json.loads(json.dumps({**asdict(artifact), "audit": audit}))
        return plain

    def call(self, job: str, *arguments: Any) -> Any:  # noqa: ANN401 - each job has its own
        """Do a job, see JOBS."""
        with self._slots:
            return JOBS[job](self._predictor, *arguments)


def score(predictor: "Predictor", image: bytes | Grey, name: str, include: Collection[str] = ()) -> Answer:
    """Score an image.

    Args:
        predictor: The loaded model.
        image: Content of a file, or uint8, shape (height, width), as covidcxr.images makes it.
        name: What to call it.
        include: What to add, see covidcxr.web.api.predictions.EXTRAS; ``patient`` of files only.

    Raises:
        ImageError: The bytes are not a single image; the message calls it ``name``.
    """
    grey, prediction = _predict(predictor, image, name)
    answer = prediction.to_dict(name)
    if "activation_map" in include:
        answer["activation_map"] = _map_object(prediction.activation_map)
    if "lungs" in include:
        answer["lungs"] = _lungs_object(prediction.activation_map)
    if "patient" in include and isinstance(image, bytes):
        answer["patient"] = read_patient(image)
    if "preview" in include:
        answer["preview"] = preview(grey)
    return answer


def page(predictor: "Predictor", data: bytes, name: str, prevalence: float) -> tuple[Answer, bytes]:
    """Score an image and make a PDF about it, see covidcxr.web.pdf.render_pdf.

    Raises:
        ImageError: The bytes are not a single image.
    """
    from covidcxr.web.pdf import render_pdf  # here: fpdf2 takes longer to import than an image to score

    grey, prediction = _predict(predictor, data, name)
    return prediction.to_dict(name), render_pdf(grey, prediction, predictor.artifact, name, prevalence)


def structured_report(predictor: "Predictor", data: bytes, name: str) -> tuple[Answer, bytes]:
    """Score a DICOM image and make a DICOM structured report about it.

    Raises:
        ImageError: The bytes are not a single image.
        ReportError: They are no DICOM, or have a header that no report can be made of; the message has no value of it.
    """
    if not is_dicom(data):
        raise ReportError(f"Expected a DICOM image. Received {name}, which is none.")
    _, prediction = _predict(predictor, data, name)
    return prediction.to_dict(name), _report(data, prediction)


def drawing(_: "Predictor") -> bytes:
    """Draw the example that is nobody's radiograph, see covidcxr.web.pages.samples.draw."""
    return draw()


def probe(predictor: "Predictor") -> None:
    """Try one prediction."""
    ramp = np.broadcast_to(np.arange(PROBE_SIDE, dtype=np.uint8), (PROBE_SIDE, PROBE_SIDE))
    predictor.predict(np.ascontiguousarray(ramp))


JOBS: Mapping[str, Callable[..., Any]] = {
    "score": score,
    "page": page,
    "structured_report": structured_report,
    "drawing": drawing,
    "probe": probe,
}


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


def _predict(predictor: "Predictor", image: bytes | Grey, name: str) -> "tuple[Grey, Prediction]":
    grey = decode_image(image, name) if isinstance(image, bytes) else image
    return grey, predictor.predict(grey)


def _report(data: bytes, prediction: "Prediction") -> bytes:
    from pydicom import dcmread, dcmwrite

    from covidcxr.dicom.results import report as results

    file = BytesIO()
    try:
        ds = dcmread(BytesIO(data), force=True, stop_before_pixels=True)
        dcmwrite(file, results.structured_report(ds, prediction), enforce_file_format=True)
    except Exception as error:  # whatever pydicom and highdicom raise on a header that breaks the standard
        reason = error if isinstance(error, ImageError) else f"one that cannot be read: {type(error).__name__}"
        raise ReportError(f"Expected a DICOM image to report on. Received {reason}.") from error
    return file.getvalue()


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


def _rows(values: NDArray[np.float32]) -> list[list[float]]:
    return [[round(value, MAP_DIGITS) for value in row] for row in values.tolist()]
