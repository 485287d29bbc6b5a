"""The Flask application: its parts, the health check, security headers, and requests that stay in memory."""

from io import BytesIO
from typing import IO, TYPE_CHECKING

from flask import Flask, Request, Response, request
from flask.json.provider import DefaultJSONProvider

from covidcxr.web.api.docs import create_docs
from covidcxr.web.api.inference import create_inference
from covidcxr.web.api.predictions import create_api
from covidcxr.web.api.reports import create_reports
from covidcxr.web.engine import Engine
from covidcxr.web.http import access_log, problems
from covidcxr.web.http.board import Board
from covidcxr.web.http.health import Readiness, create_health
from covidcxr.web.http.metrics import Metrics
from covidcxr.web.http.rules import LazyRule
from covidcxr.web.pages.pages import create_pages
from covidcxr.web.scorer import Scorer

if TYPE_CHECKING:
    from covidcxr.web.http.guard import Guard

FORM_FIELDS = 8
"""Parts of a multipart request that may be something else than an image."""
SECURITY_HEADERS = {
    # blob: and data: are the previews that the browser and the API make
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
    """A request whose uploads never touch the disk: werkzeug's own spools parts above 500 kB to a temporary file."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return BytesIO()  # MAX_CONTENT_LENGTH bounds all streams of a request together


class OrderedJson(DefaultJSONProvider):
    """JSON objects in the order in which they were made, as ``predict --json`` prints them."""

    sort_keys = False


class CovidCxr(Flask):
    """Flask with MemoryRequest, OrderedJson and LazyRule."""

    request_class = MemoryRequest
    url_rule_class = LazyRule
    json_provider_class = OrderedJson


def create_app(
    engine: Engine,
    *,
    max_upload_mb: int = 64,
    max_files: int = 32,
    guard: "Guard | None" = None,
    log_addresses: bool = False,
    board: Board | None = None,
    row: int = 0,
) -> Flask:
    """Make the WSGI application.

    Args:
        engine: Decodes and scores.
        max_upload_mb: Size of one whole request in MiB. A computed radiography plate of 4300 x 3600 pixels of 16 bits
            takes 30 as uncompressed DICOM.
        max_files: Images in one request.
        guard: What a request must bring; None lets all pass.
        log_addresses: Whether the log names the clients' addresses.
        board: What the worker processes share; None where this is the only one.
        row: Of the board, this process's own.

    Raises:
        ValueError: A limit below 1.
    """
    if min(max_upload_mb, max_files) < 1:
        raise ValueError(f"Expected limits of at least 1. Received {max_upload_mb}, {max_files}.")
    app = CovidCxr(__name__)
    app.config["MAX_CONTENT_LENGTH"] = max_upload_mb * 2**20
    app.config["MAX_FORM_PARTS"] = max_files + FORM_FIELDS
    board = board or Board()
    metrics = Metrics(board, row)
    scorer = Scorer(engine, metrics)
    readiness = Readiness(engine, board)
    access_log.install(app, addresses=log_addresses)  # first: it gives each request its id
    app.register_blueprint(create_pages(engine, max_upload_mb=max_upload_mb))
    app.register_blueprint(create_reports(scorer))
    app.register_blueprint(create_api(scorer, max_files=max_files))
    app.register_blueprint(create_inference(scorer, readiness, max_images=max_files))
    app.register_blueprint(create_health(engine.model, readiness))
    app.register_blueprint(create_docs())
    metrics.install(app, engine.model)  # after all routes
    if guard:
        from covidcxr.web.http.guard import install  # here: most servers have none

        install(app, guard)  # after the counters: they see what it turns away
    problems.install(app)
    app.after_request(_secure)
    return app


def _secure(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    if request.path.startswith(("/api/", "/v2")):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
