"""Clients that send a request, or take its answer, too slowly: they must not keep a thread from others.

gunicorn gives every connection a thread that waits for it without end. Here each connection gets a time, and more for
every byte that arrives; when it has passed, the reading side of the connection is shut down, which wakes the thread.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from gunicorn.http.errors import ParseException

BYTES_PER_SECOND = 64 * 1024
"""Half a megabit a second: the slowest line that a request may come over once its first seconds are over."""
TICK = 0.25
"""Seconds between two looks at the connections."""


@dataclass(eq=False, kw_only=True)
class Watch:
    """One request on its way.

    Attributes:
        connection: Its socket.
        deadline: Of time.monotonic; None while the server computes.
        shut: What is shut down at the deadline: reading while the request arrives, both once it is answered.
        cut: Whether that has happened.
    """

    connection: socket.socket
    deadline: float | None
    shut: int = socket.SHUT_RD
    cut: bool = field(default=False, init=False)

    def received(self, count: int) -> None:
        """Give the rest more time: ``count`` bytes have arrived."""
        if self.deadline is not None:
            self.deadline += count / BYTES_PER_SECOND

    def arrived(self) -> None:
        """Stop the time: the request is complete."""
        self.deadline = None

    def answers(self, seconds: float) -> None:
        """Give the client so long to take the answer."""
        self.shut = socket.SHUT_RDWR
        self.deadline = time.monotonic() + seconds


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


def current_watch() -> Watch | None:
    """Return the watch over the request that this thread works on; None outside of ``covidcxr serve``."""
    return _watch.get()


class Watchman:
    """Looks after all connections of a process.

    Attributes:
        grace: Seconds that a request may take whatever its size; each of its bytes adds to them.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self._watches: set[Watch] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._walk, name="watchman", daemon=True).start()

    @contextmanager
    def over(self, connection: socket.socket) -> Iterator[None]:
        """Watch over one request of a connection."""
        watch = Watch(connection=connection, deadline=time.monotonic() + self.grace)
        token = _watch.set(watch)
        with self._lock:
            self._watches.add(watch)
        try:
            yield
        finally:
            with self._lock:
                self._watches.discard(watch)
            _watch.reset(token)

    def _walk(self) -> None:
        while True:
            time.sleep(TICK)
            with self._lock:  # held while shutting down: a finished connection's socket may be another one's next
                for watch in self._watches:
                    if watch.deadline is not None and watch.deadline < time.monotonic() and not watch.cut:
                        watch.cut = True
                        with suppress(OSError):  # the client was faster
                            watch.connection.shutdown(watch.shut)


class Timed:
    """WSGI middleware that tells the watch how a request goes on."""

    def __init__(self, application: Callable[..., Iterable[bytes]], grace: float) -> None:
        self._application = application
        self._grace = grace

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle one request."""
        watch = current_watch()
        if watch is None:
            return self._application(environ, start_response)
        length = environ.get("CONTENT_LENGTH") or ""
        environ["wsgi.input"] = _Counted(environ["wsgi.input"], watch, int(length) if length.isdecimal() else None)
        if "HTTP_TRANSFER_ENCODING" not in environ and not length.strip("0"):
            watch.arrived()

        def answer(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:  # noqa: ANN401 - as WSGI has it
            size = sum(int(value) for name, value in headers if name.lower() == "content-length")
            watch.answers(self._grace + size / BYTES_PER_SECOND)
            return start_response(status, headers, *rest)

        return self._application(environ, answer)


class _Counted:
    """A request body whose bytes are counted as they arrive."""

    def __init__(self, stream: Any, watch: Watch, length: int | None) -> None:  # noqa: ANN401 - gunicorn's
        self._stream = stream
        self._watch = watch
        self._left = length

    def read(self, size: int = -1) -> bytes:
        """Return up to so many bytes, all of them if below 0.

        Raises:
            BadRequest: The chunks are not as HTTP has them, or the connection broke.
        """
        try:
            data: bytes = self._stream.read() if size < 0 else self._stream.read(size)
        except (OSError, ParseException) as error:
            from werkzeug.exceptions import BadRequest  # here: this module is imported before the workers are forked

            raise BadRequest("Expected the whole body of a request. Received a broken one.") from error
        if self._left is not None:
            self._left -= len(data)
        if self._left == 0 or (not data and not self._watch.cut):
            self._watch.arrived()
        else:
            self._watch.received(len(data))
        return data
