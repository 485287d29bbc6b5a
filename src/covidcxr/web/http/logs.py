"""What ``covidcxr serve`` writes to stderr: lines of JSON or text, without anything that a client sent."""

import json
import logging
import sys
import time
from enum import StrEnum

from covidcxr._logs import silence_libraries

LOGGER = logging.getLogger("covidcxr.requests")
"""Of the line for each request."""
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False
_BY_CLIENTS = {"Invalid request from ip=": "Invalid request", "Error handling request": "Error handling request"}
"""How gunicorn's lines begin that quote a request, and what is left of them."""


class LogFormat(StrEnum):
    """How a line of the log looks."""

    JSON = "json"
    TEXT = "text"


def configure(log_format: LogFormat | None) -> None:
    """Set up the loggers of the server, after gunicorn has set up its own.

    Args:
        log_format: How lines look; None leaves out the line for each request.
    """
    silence_libraries()
    gunicorn = logging.getLogger("gunicorn.error")
    gunicorn.addFilter(_forget_client)
    if log_format is None:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format is LogFormat.JSON else _Text())
    LOGGER.handlers = [handler]
    gunicorn.handlers = [handler]
    failures = logging.getLogger("covidcxr.web.app")  # Flask's, which it names after the module
    failures.handlers, failures.propagate = [handler], False


def _forget_client(record: logging.LogRecord) -> bool:
    for start, rest in _BY_CLIENTS.items():
        if str(record.msg).startswith(start):
            record.msg, record.args = rest, ()
    return True


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        trace = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return f"{_time(record)} {record.levelname.lower()} {record.getMessage()} {fields}".rstrip() + trace


def _time(record: logging.LogRecord) -> str:
    """ISO 8601, UTC, milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
