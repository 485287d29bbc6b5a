"""Reports about one image, to keep: a page as PDF, and a DICOM structured report."""

from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from threading import BoundedSemaphore
from typing import cast

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage

from covidcxr.errors import ImageError
from covidcxr.web.engine import ReportError
from covidcxr.web.scorer import Scorer

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
        upload, prevalence = _upload(), _prevalence()
        return _report(lambda data, name: scorer.page(data, name, prevalence), upload, "application/pdf")

    @reports.post("/report.dcm")
    def dicom() -> ResponseReturnValue:
        """Make a DICOM structured report about one DICOM image."""
        if not has_dicom():
            abort(501, "Expected a server with the extra dicom. Received a request to one without.")
        return _report(scorer.structured_report, _upload(), "application/dicom")

    def _report(make: Callable[[bytes, str], bytes], upload: FileStorage, media_type: str) -> ResponseReturnValue:
        name, data = upload.filename or "", _content(upload)
        try:
            with slot:
                return make(data, name), {"Content-Type": media_type}
        except (ImageError, ReportError) as error:
            abort(422, str(error))

    return reports


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
