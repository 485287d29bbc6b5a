"""gunicorn, embedded: one listening socket, worker processes with threads, and for each a process with the model."""

import codecs
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import AppImportError
from gunicorn.workers.gthread import ThreadWorker

from covidcxr._system import collector_left_out, reuse_freed_blocks
from covidcxr.errors import CovidCxrError
from covidcxr.web.engine_process import RemoteEngine, launch
from covidcxr.web.http.board import Board
from covidcxr.web.http.logs import LogFormat, configure
from covidcxr.web.http.timeouts import Timed, Watchman

if TYPE_CHECKING:
    from flask import Flask

    from covidcxr.web.http.guard import Guard

BACKLOG = 2048
"""Connections that may wait until a thread takes them; gunicorn's own default."""
SHARED_MEMORY = "/dev/shm"
"""Where gunicorn keeps the heartbeat of its workers: no disk, which may be full, slow or read-only."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to serve.

    Attributes:
        host: Address or name of this machine to listen on.
        port: TCP port, 0 takes a free one.
        model: Model file, None takes the one that comes with the package.
        workers: Processes for requests, each with another one for its copy of the model.
        threads: Requests that each process handles at a time.
        patience: Seconds that a request may take to arrive, or its answer to be taken, besides what its bytes take.
        drain: Seconds between SIGTERM and the end of the listening, while ``/readyz`` already says no.
        log_format: How the log looks; None leaves out the line for each request.
        log_addresses: Whether the log names the clients' addresses.
        guard: What a request must bring.
    """

    host: str
    port: int
    model: Path | None
    workers: int
    threads: int
    patience: float
    drain: float
    log_format: LogFormat | None
    log_addresses: bool
    guard: "Guard | None"


def serve(settings: Settings, channels: list[socket.socket], ready: Callable[[str, str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, which let requests under way finish; a second Ctrl-C does not.

    Args:
        settings: How to serve.
        channels: To the engine of the first worker, from covidcxr.web.engine_process.launch.
        ready: Called once with the address and the name of the model as soon as predictions are answered.

    Raises:
        CovidCxrError: The address cannot be listened on.
        SystemExit: Always, at the end; a status other than 0 if the model could not be loaded.
    """
    listener = listen(settings.host, settings.port)
    url = address(listener)
    application = _Application(settings, channels, listener.detach(), lambda model: ready(url, model))
    arbiter = _Arbiter(application, application.board, settings.drain)
    configure(settings.log_format)  # here: gunicorn has just set up its own logger, and the workers inherit it
    arbiter.run()


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket. Not left to gunicorn, which retries for five seconds and cannot tell a free port.

    Raises:
        CovidCxrError: The port is taken or not allowed, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise CovidCxrError(
            f"Expected to listen on {host}, port {port}. Received: {reason}. "
            "Choose another address with --host or --port."
        ) from error
    # Connections inherit it. Without it the body of an answer waits up to 40 ms for the receipt of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address(listener: socket.socket) -> str:
    """Return the URL that a listening socket answers on."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family is socket.AF_INET6 else f"http://{host}:{port}"


def _end() -> None:
    """End this worker, whose engine is gone, once its requests are answered; the arbiter starts both anew."""
    logging.getLogger("gunicorn.error").error("The process with the model ended. Starting another one.")
    os.kill(os.getpid(), signal.SIGTERM)


class _Worker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    def init_process(self) -> None:
        self.watchman = Watchman(self.app.patience)
        super().init_process()

    def handle(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn has no types
        with self.watchman.over(conn.sock):
            return super().handle(conn)


class _Arbiter(Arbiter):  # type: ignore[misc] # gunicorn has no types
    def __init__(self, application: "_Application", board: Board, drain: float) -> None:
        self._board = board
        self._drain = drain
        super().__init__(application)

    def spawn_worker(self) -> Any:  # noqa: ANN401 - gunicorn has no types
        """Fork a worker; only the parent comes back."""
        number = super().spawn_worker()
        self.app.close_channels()
        return number

    def handle_term(self) -> None:
        """Say no to ``/readyz`` for a while before the listening ends: so long others may still send requests here."""
        self._board.stop()
        time.sleep(self._drain)
        raise StopIteration

    def handle_int(self) -> None:
        """End as after SIGTERM, at once; gunicorn's own Ctrl-C drops requests under way."""
        self._board.stop()
        raise StopIteration


class _Application(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    def __init__(
        self, settings: Settings, channels: list[socket.socket], listener: int, ready: Callable[[str], None]
    ) -> None:
        self.patience = settings.patience
        self._channels = channels
        self._settings = settings
        self._listener = listener
        self._ready = ready
        self._model = ""
        self._row = 0
        self.board = Board(2 * settings.workers)  # a worker may start before the one it replaces has ended
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": f"fd://{self._listener}",
            "workers": self._settings.workers,
            "threads": self._settings.threads,
            "worker_class": _Worker,
            "loglevel": "warning",
            "pre_fork": self._prepare,
            "worker_tmp_dir": SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None,
            "post_worker_init": self._worker_started,
            "control_socket_disable": True,  # else a socket in the home directory, from gunicorn 25.1 on
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> "Flask":
        """Import Flask, in a worker, while the process with the model loads it: they take about as long."""
        reuse_freed_blocks(heaps=1)  # its threads copy what arrives, one at a time
        with collector_left_out():
            from covidcxr.web.app import create_app

            codecs.lookup("idna")  # else imported by the first request
        try:
            engine = RemoteEngine(self._channels, _end)
        except CovidCxrError as error:
            raise AppImportError(f"Error: {error}") from error
        self._model = engine.model
        app = create_app(
            engine,
            guard=self._settings.guard,
            log_addresses=self._settings.log_addresses,
            board=self.board,
            row=self._row,
        )
        app.wsgi_app = Timed(app.wsgi_app, self._settings.patience)  # type: ignore[method-assign] # Flask's own way
        return app

    def close_channels(self) -> None:
        """Leave the channels to the worker that was forked: its engine ends when nobody else holds them."""
        for channel in self._channels:
            channel.close()
        self._channels = []

    def _prepare(self, arbiter: Any, worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        """Give a worker that is about to be forked an engine, and a row of the board that no other one writes."""
        if not self._channels:
            self._channels = launch(self._settings.model, workers=self._settings.workers)
        taken = {other.row for other in arbiter.WORKERS.values()}
        worker.row = self._row = next(row for row in range(self.board.rows) if row not in taken)

    def _worker_started(self, worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the arbiter tells the workers
        if worker.age == 1:
            self._ready(self._model)
