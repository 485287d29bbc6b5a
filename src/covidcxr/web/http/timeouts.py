"""Timeouts of clients that send a request, or read its answer, too slowly and would keep a thread from others.

gunicorn gives every connection a thread that waits for it without a limit. Here each request has a time limit that
grows with every byte received; when it expires, the connection is shut down, which wakes the thread.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

BYTES_PER_SECOND = 64 * 1024
"""Half a megabit a second: the slowest connection on which a request of any size arrives in time."""
TICK = 0.25
"""Seconds between two checks of all connections."""


@dataclass(eq=False, kw_only=True)
class RequestTimer:
    """The time limit of one request.

    Attributes:
        connection: Socket of the client.
        deadline: In terms of time.monotonic; None while the server computes.
        shut: Direction that is shut down at the deadline: reading while the request arrives, then both.
        expired: Whether that has happened.
    """

    connection: socket.socket
    deadline: float | None
    shut: int = socket.SHUT_RD
    expired: bool = field(default=False, init=False)

    def received(self, count: int) -> None:
        """Extend the limit: ``count`` bytes have arrived."""
        if self.deadline is not None:
            self.deadline += count / BYTES_PER_SECOND

    def stop(self) -> None:
        """Suspend the limit: the request is complete."""
        self.deadline = None

    def answer(self, seconds: float) -> None:
        """Give the client this long to read the answer."""
        self.shut = socket.SHUT_RDWR
        self.deadline = time.monotonic() + seconds


_timer: ContextVar[RequestTimer | None] = ContextVar("timer", default=None)


def current_timer() -> RequestTimer | None:
    """Return the timer of the request that this thread handles; None outside of ``covidcxr serve``."""
    return _timer.get()


class Watchdog:
    """A thread that enforces the time limits of all connections of a process.

    Attributes:
        timeout: Seconds that a request may take whatever its size; each of its bytes adds to them.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._timers: set[RequestTimer] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    @contextmanager
    def watch(self, connection: socket.socket) -> Iterator[None]:
        """Limit the time of one request on a connection."""
        timer = RequestTimer(connection=connection, deadline=time.monotonic() + self.timeout)
        token = _timer.set(timer)
        with self._lock:
            self._timers.add(timer)
        try:
            yield
        finally:
            with self._lock:
                self._timers.discard(timer)
            _timer.reset(token)

    def _run(self) -> None:
        while True:
            time.sleep(TICK)
            with self._lock:  # also during the shutdown: a closed socket's number may soon belong to another connection
                for timer in self._timers:
                    if timer.deadline is not None and timer.deadline < time.monotonic() and not timer.expired:
                        timer.expired = True
                        with suppress(OSError):  # the client has closed it
                            timer.connection.shutdown(timer.shut)


class TimeoutMiddleware:
    """WSGI middleware that reports the progress of a request to its timer."""

    def __init__(self, application: Callable[..., Iterable[bytes]], timeout: float) -> None:
        self._application = application
        self._timeout = timeout

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle one request."""
        timer = current_timer()
        if timer is None:
            return self._application(environ, start_response)
        length = environ.get("CONTENT_LENGTH") or ""
        environ["wsgi.input"] = _TimedBody(environ["wsgi.input"], timer, int(length) if length.isdecimal() else None)
        if "HTTP_TRANSFER_ENCODING" not in environ and not length.strip("0"):
            timer.stop()

        def answer(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:  # noqa: ANN401 - as in WSGI
            size = sum(int(value) for name, value in headers if name.lower() == "content-length")
            timer.answer(self._timeout + size / BYTES_PER_SECOND)
            return start_response(status, headers, *rest)

        return self._application(environ, answer)


class _TimedBody:
    """A request body that reports its bytes to a timer."""

    def __init__(self, stream: Any, timer: RequestTimer, length: int | None) -> None:  # noqa: ANN401 - gunicorn's
        self._stream = stream
        self._timer = timer
        self._left = length

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes, or all of them if it is negative.

        Raises:
            BadRequest: The chunks are not valid HTTP, or the connection broke.
        """
        from gunicorn.http.errors import ParseException  # here: gunicorn cannot be imported on Windows
        from werkzeug.exceptions import BadRequest

        try:
            data: bytes = self._stream.read() if size < 0 else self._stream.read(size)
        except (OSError, ParseException) as error:
            raise BadRequest("Expected the whole body of a request. Received a broken one.") from error
        if self._left is not None:
            self._left -= len(data)
        if self._left == 0 or (not data and not self._timer.expired):
            self._timer.stop()
        else:
            self._timer.received(len(data))
        return data
