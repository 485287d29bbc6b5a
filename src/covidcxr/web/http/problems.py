"""Errors as problem details (RFC 9457), for every error of the APIs."""

from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, json, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from covidcxr import DISCLAIMER
from covidcxr.web.http.timeouts import current_timer

MEDIA_TYPE = "application/problem+json"
_INTERFACES = ("/api/", "/v2", "/metrics", "/healthz", "/readyz")
"""Start of the addresses whose clients are programs; browsers get a page elsewhere."""
INFERENCE = "/v2"
"""Start of the addresses where clients expect the message in ``error`` (Open Inference Protocol)."""
DRAINED = 4
"""How much of a request over the size limit is read before the connection is cut, as a multiple of the limit."""


def install(app: Flask) -> None:
    """Answer errors of the APIs with problem details, and other unknown addresses with a page."""
    app.register_error_handler(HTTPException, _http_error)


def is_interface() -> bool:
    """Return whether the current request addresses an API, whose clients expect errors as JSON."""
    return request.path.startswith(_INTERFACES)


def problem(status: int, detail: str, **members: Any) -> Response:  # noqa: ANN401 - whatever JSON can hold
    """Create a problem response.

    Args:
        status: HTTP status, 400 to 599.
        detail: What went wrong, for a person.
        **members: Additional members of the object, such as ``files``.
    """
    content = {
        "type": "about:blank",  # the title says what the status says (RFC 9457, section 4.2.1)
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "request_id": g.request_id,
        **({"error": detail} if request.path.startswith(INFERENCE) else {}),
        **members,
    }
    return Response(json.dumps(content), status, content_type=MEDIA_TYPE)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code == 404 and not is_interface():
        return render_template("missing.html", disclaimer=DISCLAIMER), 404
    if not is_interface() or error.code is None or error.code < 400:
        return error
    if error.code == 413 and "Expect" not in request.headers:
        _drain(DRAINED * current_app.config["MAX_CONTENT_LENGTH"])
    answer = problem(408 if _timed_out() else error.code, _detail(error))
    for name, value in error.get_headers():  # such as Allow, Retry-After, WWW-Authenticate
        if name != "Content-Type":
            answer.headers[name] = value
    return answer


def _timed_out() -> bool:
    timer = current_timer()
    return timer is not None and timer.expired


def _drain(limit: int) -> None:
    """Read and discard: most clients send the whole request before they read the answer."""
    stream = request.environ["wsgi.input"]
    while limit > 0 and (chunk := stream.read(min(limit, 2**16))):
        limit -= len(chunk)


def _detail(error: HTTPException) -> str:
    if _timed_out():
        return "The request did not arrive in time."
    if isinstance(error, MethodNotAllowed):
        methods = sorted(set(error.valid_methods or ()) - {"OPTIONS", "HEAD"})
        return f"Expected the method {' or '.join(methods)}. Received {request.method}."
    match error.code:
        case 404 if error.description == type(error).description:
            return "Expected an address that /api/v1/openapi.json lists. Received another one."
        case 413:
            megabytes, parts = current_app.config["MAX_CONTENT_LENGTH"] // 2**20, current_app.config["MAX_FORM_PARTS"]
            return f"Expected at most {megabytes} MB and {parts} parts in one request. Received more."
        case 500:
            return "The server failed to answer this request. Nothing of the upload was kept."
        case _:
            return error.description or error.name
