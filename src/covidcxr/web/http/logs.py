"""The log of ``covidcxr serve`` on stderr: lines of JSON or text that quote nothing a client sent."""

import json
import logging
import sys
import time
from enum import StrEnum

from covidcxr._logs import silence_libraries

LOGGER = logging.getLogger("covidcxr.requests")
"""Logger of the line for each request."""
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False
_BY_CLIENTS = {"Invalid request from ip=": "Invalid request", "Error handling request": "Error handling request"}
"""Start of gunicorn's messages that quote a request, and their replacement."""


class LogFormat(StrEnum):
    """Format of a log line."""

    JSON = "json"
    TEXT = "text"


def configure(log_format: LogFormat | None) -> None:
    """Set up the loggers of the server, after gunicorn has set up its own.

    Args:
        log_format: Format of the lines; None leaves out the line for each request.
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
    web = logging.getLogger("covidcxr.web")  # includes Flask's own, covidcxr.web.app
    web.handlers, web.propagate = [handler], False


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
    """Return the time of a record: ISO 8601, UTC, milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
