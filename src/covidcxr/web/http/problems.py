"""Errors as problem details (RFC 9457): one shape for every error of the JSON interfaces."""

from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, json, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from covidcxr import DISCLAIMER
from covidcxr.web.engine import EngineLostError
from covidcxr.web.http.timeouts import current_watch

MEDIA_TYPE = "application/problem+json"
_INTERFACES = ("/api/", "/v2", "/metrics", "/healthz", "/readyz")
"""How the addresses begin whose errors are for programs; elsewhere a browser gets a page."""
INFERENCE = "/v2"
"""Where clients look for the message in ``error`` (Open Inference Protocol, inference error response)."""
DRAINED = 4
"""Times the largest request that is read of a request that is too large, before the connection is cut."""


def install(app: Flask) -> None:
    """Answer every error of an interface for programs with problem details, and addresses of no page with a page."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(EngineLostError, _engine_lost)


def is_interface() -> bool:
    """Tell whether the request under way is for programs, who want errors as JSON."""
    return request.path.startswith(_INTERFACES)


def problem(status: int, detail: str, **members: Any) -> Response:  # noqa: ANN401 - whatever JSON can hold
    """Return a problem.

    Args:
        status: HTTP status.
        detail: What was expected and what was received.
        **members: Further members of the object, such as ``files``.
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
    watch = current_watch()
    answer = problem(408 if watch and watch.cut else error.code, _detail(error))
    for name, value in error.get_headers():  # such as Allow, Retry-After, WWW-Authenticate
        if name != "Content-Type":
            answer.headers[name] = value
    return answer


def _engine_lost(_: EngineLostError) -> Response:
    answer = problem(503, "Expected a prediction. Received the end of the process that makes them; it is started anew.")
    answer.headers["Retry-After"] = "1"
    return answer


def _drain(limit: int) -> None:
    """Read on and forget: most clients send all of a request before they look for the answer to it."""
    stream = request.environ["wsgi.input"]
    while limit > 0 and (chunk := stream.read(min(limit, 2**16))):
        limit -= len(chunk)


def _detail(error: HTTPException) -> str:
    """Say what was expected; the 400s of this package already do."""
    watch = current_watch()
    if watch and watch.cut:
        return "Expected a request that arrives in time. Received only a part of it."
    if isinstance(error, MethodNotAllowed):
        methods = sorted(set(error.valid_methods or ()) - {"OPTIONS", "HEAD"})
        return f"Expected the method {' or '.join(methods)}. Received {request.method}."
    match error.code:
        case 404 if error.description == type(error).description:
            return "Expected an address that /api/v1/openapi.json lists. Received one that is not there."
        case 413:
            megabytes, parts = current_app.config["MAX_CONTENT_LENGTH"] // 2**20, current_app.config["MAX_FORM_PARTS"]
            return f"Expected at most {megabytes} MB and {parts} parts in one request. Received more."
        case 500:
            return "Expected a prediction. Received a failure of this server; nothing of the upload was kept."
        case _:
            return error.description or error.name
