"""Reports about one image, to keep: a page as PDF, and a DICOM structured report."""

from importlib.util import find_spec
from io import BytesIO
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, cast

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage

from covidcxr.errors import ImageError
from covidcxr.images import is_dicom
from covidcxr.web.scorer import Scorer

if TYPE_CHECKING:
    from covidcxr.predictor import Prediction

PREVALENCES = (0.001, 0.5)
"""Shares of people with COVID-19 that predictive values are given for."""


def has_dicom() -> bool:
    """Return whether the extra ``dicom`` is installed, which structured reports need."""
    return find_spec("highdicom") is not None


def create_reports(scorer: Scorer) -> Blueprint:
    """Make the blueprint of the reports."""
    reports = Blueprint("reports", __name__, url_prefix="/api/v1")
    slot = BoundedSemaphore()  # reports are rare: one at a time bounds the memory

    @reports.post("/report.pdf")
    def pdf() -> ResponseReturnValue:
        """Make a page about one image."""
        from covidcxr.web.pdf import render_pdf  # here: fpdf2 takes longer to import than an image to score

        upload, prevalence = _upload(), _prevalence()
        name, data = upload.filename or "", _content(upload)
        with slot:
            try:
                grey, prediction = scorer.score_file(data, name)
            except ImageError as error:
                abort(422, str(error))
            page = render_pdf(grey, prediction, scorer.predictor.artifact, name, prevalence)
        return page, {"Content-Type": "application/pdf"}

    @reports.post("/report.dcm")
    def dicom() -> ResponseReturnValue:
        """Make a DICOM structured report about one DICOM image."""
        if not has_dicom():
            abort(501, "Expected a server with the extra dicom. Received a request to one without.")
        upload = _upload()
        name, data = upload.filename or "", _content(upload)
        if not is_dicom(data):
            abort(422, f"Expected a DICOM image. Received {name}, which is none.")
        with slot:
            try:
                _, prediction = scorer.score_file(data, name)
                report = _structured_report(data, prediction)
            except ImageError as error:
                abort(422, str(error))
        return report, {"Content-Type": "application/dicom"}

    return reports


def _structured_report(data: bytes, prediction: "Prediction") -> bytes:
    """Make the report about a DICOM image that could be decoded.

    Raises:
        ImageError: Its header is not one to report on; the message holds no value of it.
    """
    from pydicom import dcmread, dcmwrite

    from covidcxr.dicom.results import structured_report

    file = BytesIO()
    try:
        ds = dcmread(BytesIO(data), force=True, stop_before_pixels=True)
        dcmwrite(file, structured_report(ds, prediction), enforce_file_format=True)
    except Exception as error:  # whatever pydicom and highdicom raise on a header that breaks the standard
        reason = error if isinstance(error, ImageError) else f"one that cannot be read: {type(error).__name__}"
        raise ImageError(f"Expected a DICOM image to report on. Received {reason}.") from error
    return file.getvalue()


def _upload() -> FileStorage:
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        abort(400, "Expected an image in the field 'file'. Received none.")
    return upload


def _content(upload: FileStorage) -> bytes:
    data = cast(BytesIO, upload.stream).getvalue()
    upload.close()
    return data


def _prevalence() -> float:
    low, high = PREVALENCES
    prevalence = request.form.get("prevalence", type=float)
    if prevalence is None or not low <= prevalence <= high:
        abort(400, f"Expected a prevalence of {low} to {high}. Received {request.form.get('prevalence')!r}.")
    return prevalence
