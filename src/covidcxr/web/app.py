"""The Flask application: its parts, security headers, and requests that stay in memory."""

from collections.abc import Callable
from io import BytesIO
from typing import IO, TYPE_CHECKING

from flask import Flask, Request, Response, request
from flask.json.provider import DefaultJSONProvider

from covidcxr.web.api.docs import create_docs
from covidcxr.web.api.inference import create_inference
from covidcxr.web.api.predictions import create_api
from covidcxr.web.api.reports import create_reports
from covidcxr.web.http import access_log, problems
from covidcxr.web.http.health import Readiness, create_health
from covidcxr.web.http.metrics import Metrics
from covidcxr.web.pages.pages import create_pages
from covidcxr.web.scorer import UploadScorer

if TYPE_CHECKING:
    from covidcxr.prediction.predictor import Predictor
    from covidcxr.web.http.guard import Guard

FORM_FIELDS = 8
"""Parts of a multipart request allowed beside the images."""
SECURITY_HEADERS = {
    # blob: and data: for the previews that the browser and the API create
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
    "X-Permitted-Cross-Domain-Policies": "none",
}


class MemoryRequest(Request):
    """A request whose uploads never touch the disk; werkzeug writes parts above 500 kB to a temporary file."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return BytesIO()  # MAX_CONTENT_LENGTH limits all streams of a request together


class OrderedJson(DefaultJSONProvider):
    """JSON objects whose members keep their order, as in ``predict --json``."""

    sort_keys = False


class CovidCxr(Flask):
    """Flask with MemoryRequest and OrderedJson."""

    request_class = MemoryRequest
    json_provider_class = OrderedJson


def create_app(
    predictor: "Predictor",
    *,
    parallel: int = 2,
    max_upload_mb: int = 64,
    max_files: int = 32,
    guard: "Guard | None" = None,
    log_addresses: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> Flask:
    """Create the WSGI application.

    Args:
        predictor: Loaded model.
        parallel: Images decoded and scored at the same time, see UploadScorer.
        max_upload_mb: Size limit of one request in MiB. A computed radiography plate of 4300 x 3600 pixels of 16 bits
            takes 30 as uncompressed DICOM.
        max_files: Number of images allowed in one request.
        guard: Token, rate limit, origins and proxies; None accepts every request.
        log_addresses: Whether the log shows the clients' addresses.
        stopping: Returns whether the server is shutting down.

    Raises:
        ValueError: A limit is below 1.
    """
    if min(max_upload_mb, max_files) < 1:
        raise ValueError(f"Expected limits of at least 1. Received {max_upload_mb}, {max_files}.")
    app = CovidCxr(__name__)
    app.config["MAX_CONTENT_LENGTH"] = max_upload_mb * 2**20
    app.config["MAX_FORM_PARTS"] = max_files + FORM_FIELDS
    metrics = Metrics(predictor.model)
    scorer = UploadScorer(predictor, metrics, parallel=parallel)
    readiness = Readiness(predictor, stopping)
    access_log.install(app, addresses=log_addresses)  # first: it gives each request its id
    app.register_blueprint(create_pages(predictor, max_upload_mb=max_upload_mb))
    app.register_blueprint(create_reports(scorer))
    app.register_blueprint(create_api(scorer, max_files=max_files))
    app.register_blueprint(create_inference(scorer, readiness, max_images=max_files))
    app.register_blueprint(create_health(predictor.model, readiness))
    app.register_blueprint(create_docs())
    metrics.install(app)
    if guard:
        from covidcxr.web.http.guard import install  # here: most servers have none

        install(app, guard)  # after the counters, which see what it rejects
    problems.install(app)
    app.after_request(_secure)
    return app


def _secure(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    if request.path.startswith(("/api/", "/v2")):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
