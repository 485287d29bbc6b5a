"""One log line for each request, without anything about the patient or the image."""

import re
import secrets
import time

from flask import Flask, Response, g, request

from covidcxr.web.http.logs import LOGGER
from covidcxr.web.http.metrics import route_of_request

HEADER = "X-Request-ID"
WELL_FORMED = re.compile(r"[A-Za-z0-9._~-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that the log shows; a client may invent others."""


def install(app: Flask, *, addresses: bool) -> None:
    """Give every request an id, and log it.

    Args:
        app: Application whose requests are logged.
        addresses: Whether to log the client's address.
    """

    @app.before_request
    def begin() -> None:
        sent = request.headers.get(HEADER, "")
        g.request_id = sent if WELL_FORMED.fullmatch(sent) else secrets.token_hex(8)
        g.begun = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        response.headers[HEADER] = g.request_id
        fields = {
            "request_id": g.request_id,
            "method": request.method if request.method in METHODS else "other",
            "route": route_of_request(),
            "status": response.status_code,
            "duration_ms": round(1000 * (time.perf_counter() - g.begun), 1),
            "bytes_in": request.content_length or 0,
            "bytes_out": response.calculate_content_length() or 0,
        }
        if addresses:
            fields["address"] = request.remote_addr
        LOGGER.info("request", extra={"fields": fields})
        return response
