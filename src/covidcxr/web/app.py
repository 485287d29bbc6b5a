"""The Flask application: its parts, the health check, security headers, and requests that stay in memory."""

from io import BytesIO
from typing import IO, TYPE_CHECKING

from flask import Flask, Request, Response, current_app, json, request
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from covidcxr.web.api import create_api
from covidcxr.web.pages import create_pages

if TYPE_CHECKING:
    from covidcxr.predictor import Predictor

FORM_FIELDS = 8
"""Parts of a multipart request that may be something else than an image."""
DRAINED = 4
"""Times the largest request that is read of a request that is too large, before the connection is cut."""
SECURITY_HEADERS = {
    # blob: and data: are the previews that the browser and the API make
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
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
    """Flask with MemoryRequest and OrderedJson."""

    request_class = MemoryRequest
    json_provider_class = OrderedJson


def create_app(predictor: "Predictor", *, max_upload_mb: int = 64, max_files: int = 32, parallel: int = 2) -> Flask:
    """Make the WSGI application.

    Args:
        predictor: The loaded model.
        max_upload_mb: Size of one whole request in MiB. A computed radiography plate of 4300 x 3600 pixels of 16 bits
            takes 30 as uncompressed DICOM.
        max_files: Images in one request.
        parallel: Images decoded and scored at the same time in this process; further ones wait. Decoding a picture
            takes many times its bytes in memory, so that this, and not the number of threads, sets the peak.

    Raises:
        ValueError: A limit below 1.
    """
    if min(max_upload_mb, max_files, parallel) < 1:
        raise ValueError(f"Expected limits of at least 1. Received {max_upload_mb}, {max_files}, {parallel}.")
    app = CovidCxr(__name__)
    app.config["MAX_CONTENT_LENGTH"] = max_upload_mb * 2**20
    app.config["MAX_FORM_PARTS"] = max_files + FORM_FIELDS
    app.register_blueprint(create_pages(predictor, max_upload_mb=max_upload_mb))
    app.register_blueprint(create_api(predictor, max_files=max_files, parallel=parallel))

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok", "model": predictor.model}

    app.after_request(_secure)
    app.register_error_handler(HTTPException, _http_error)
    return app


def _secure(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    if request.path.startswith("/api/"):
        response.headers["Cache-Control"] = "no-store"
    return response


def _http_error(error: HTTPException) -> ResponseReturnValue:
    """Answer in JSON under /api; elsewhere a browser gets werkzeug's page."""
    if not request.path.startswith("/api/"):
        return error
    if error.code == 413 and "Expect" not in request.headers:
        _drain(DRAINED * current_app.config["MAX_CONTENT_LENGTH"])
    response = error.get_response()  # keeps its headers, such as Allow
    response.content_type = "application/json"
    response.data = json.dumps({"error": _message(error)})
    return response


def _drain(limit: int) -> None:
    """Read on and forget: most clients send all of a request before they look for the answer to it."""
    stream = request.environ["wsgi.input"]
    while limit > 0 and (chunk := stream.read(min(limit, 2**16))):
        limit -= len(chunk)


def _message(error: HTTPException) -> str:
    """Say what was expected; the 400s of this package already do."""
    match error.code:
        case 404:
            return "Expected the address /api/v1/predictions. Received one that is not there."
        case 405:
            return f"Expected the method POST. Received {request.method}."
        case 413:
            megabytes, parts = current_app.config["MAX_CONTENT_LENGTH"] // 2**20, current_app.config["MAX_FORM_PARTS"]
            return f"Expected at most {megabytes} MB and {parts} parts in one request. Received more."
        case 500:
            return "Expected a prediction. Received a failure of this server; nothing of the upload was kept."
        case _:
            return error.description or error.name
