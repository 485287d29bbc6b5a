"""Reports about one image: a page as PDF, and a DICOM structured report."""

from importlib.util import find_spec
from io import BytesIO
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue

from covidcxr.errors import ImageError
from covidcxr.images.decode import is_dicom
from covidcxr.web.api.predictions import FIELD, content_of
from covidcxr.web.scorer import UploadScorer

if TYPE_CHECKING:
    from covidcxr.prediction.predictor import Prediction

PREVALENCES = (0.001, 0.5)
"""Allowed range of the share of people with COVID-19, for predictive values."""


def has_dicom() -> bool:
    """Return whether the extra ``dicom`` is installed, which structured reports need."""
    return find_spec("highdicom") is not None


def create_reports(scorer: UploadScorer) -> Blueprint:
    """Create the blueprint of the reports."""
    reports = Blueprint("reports", __name__, url_prefix="/api/v1")
    slot = BoundedSemaphore()  # one report at a time limits the memory; reports are rare

    @reports.post("/report.pdf")
    def pdf() -> ResponseReturnValue:
        """Create a page about one image."""
        from covidcxr.web.pdf import render_pdf  # here: importing fpdf2 takes longer than scoring an image

        (data, name), prevalence = _upload(), _prevalence()
        with slot:
            try:
                grey, prediction = scorer.score(data, name)
            except ImageError as error:
                abort(422, str(error))
            page = render_pdf(grey, prediction, scorer.predictor.artifact, name, prevalence)
        return page, {"Content-Type": "application/pdf"}

    @reports.post("/report.dcm")
    def dicom() -> ResponseReturnValue:
        """Create a DICOM structured report about one DICOM image."""
        if not has_dicom():
            abort(501, "This server cannot create DICOM reports: it lacks the extra dicom.")
        data, name = _upload()
        if not is_dicom(data):
            abort(422, f"Expected a DICOM image. Received {name}, which is in another format.")
        with slot:
            try:
                _, prediction = scorer.score(data, name)
                report = _structured_report(data, prediction)
            except ImageError as error:
                abort(422, str(error))
        return report, {"Content-Type": "application/dicom"}

    return reports


def _structured_report(data: bytes, prediction: "Prediction") -> bytes:
    """Create the report about a DICOM image that could be decoded.

    Raises:
        ImageError: Its header does not allow a report; the message quotes no value of it.
    """
    from pydicom import dcmread, dcmwrite

    from covidcxr.dicom.results.report import structured_report

    file = BytesIO()
    try:
        ds = dcmread(BytesIO(data), force=True, stop_before_pixels=True)
        dcmwrite(file, structured_report(ds, prediction), enforce_file_format=True)
    except Exception as error:  # whatever pydicom and highdicom raise on a header that breaks the standard
        reason = error if isinstance(error, ImageError) else f"one that cannot be read: {type(error).__name__}"
        raise ImageError(f"Expected a DICOM image to report on. Received {reason}.") from error
    return file.getvalue()


def _upload() -> tuple[bytes, str]:
    """Return content and name of the image of a request."""
    upload = request.files.get(FIELD)
    if upload is None or not upload.filename:
        abort(400, f"Expected an image in the field '{FIELD}'. Received none.")
    return content_of(upload), upload.filename


def _prevalence() -> float:
    low, high = PREVALENCES
    prevalence = request.form.get("prevalence", type=float)
    if prevalence is None or not low <= prevalence <= high:
        abort(400, f"Expected a prevalence of {low} to {high}. Received {request.form.get('prevalence')!r}.")
    return prevalence
