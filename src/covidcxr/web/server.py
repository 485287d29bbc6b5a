"""gunicorn, embedded: one listening socket, and worker processes with threads and a model each."""

import codecs
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import AppImportError
from gunicorn.workers.gthread import ThreadWorker

from covidcxr._system import collector_left_out, cores, give_back_freed_memory, reuse_freed_blocks
from covidcxr.errors import CovidCxrError
from covidcxr.web.http.logs import LogFormat, configure
from covidcxr.web.http.timeouts import TimeoutMiddleware, Watchdog

if TYPE_CHECKING:
    from flask import Flask

    from covidcxr.prediction.predictor import Predictor
    from covidcxr.web.http.guard import Guard

BACKLOG = 2048
"""Connections that may wait for a thread; gunicorn's own default."""
SHARED_MEMORY = Path("/dev/shm")
"""Folder for counters and heartbeats: memory, not a disk, which may be full, slow or read-only."""
SMALLEST_FOLDER = 2**20
"""Bytes that must fit into the folder for counters: the size of the first file of prometheus_client."""
SWITCH_INTERVAL = 1e-4
"""Seconds between thread switches while the model loads, which needs the interpreter often and briefly."""

logger = logging.getLogger("gunicorn.error")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of a server.

    Attributes:
        host: Address or name of this machine to listen on.
        port: TCP port; 0 for a free one.
        model: Model file; None for the shipped one.
        workers: Number of processes, each with its own copy of the model.
        threads: Requests handled at the same time by each process.
        timeout: Seconds for a request to arrive, and for its answer to be read, plus the time that its bytes take.
        drain: Seconds between SIGTERM and the end of listening, during which ``/readyz`` answers 503.
        log_format: Format of the log; None leaves out the line for each request.
        log_addresses: Whether the log shows the clients' addresses.
        guard: Token, rate limit, origins and proxies; None accepts every request.
    """

    host: str
    port: int
    model: Path | None
    workers: int
    threads: int
    timeout: float
    drain: float
    log_format: LogFormat | None
    log_addresses: bool
    guard: "Guard | None"


def serve(settings: ServerSettings, ready: Callable[[str, str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, which let requests in progress finish; a second Ctrl-C does not.

    Args:
        settings: Settings of the server.
        ready: Called once, with the address and the name of the model, when predictions are answered.

    Raises:
        CovidCxrError: The server cannot listen on the address.
        SystemExit: Always, at the end; with a status other than 0 if the model cannot be loaded.
    """
    listener = listen(settings.host, settings.port)
    url = address(listener)
    application = _Application(settings, listener.detach(), lambda model: ready(url, model))
    arbiter = _Arbiter(application)
    configure(settings.log_format)  # here: gunicorn has just set up its own logger, and the workers inherit it
    parent, application.counters = os.getpid(), _folder_for_counters()
    try:
        arbiter.run()
    finally:
        # Workers end here, too. They clean up only if their parent was killed.
        if application.counters and (os.getpid() == parent or os.getppid() != parent):
            shutil.rmtree(application.counters, ignore_errors=True)


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket. gunicorn would retry for five seconds and could not report the port it got.

    Raises:
        CovidCxrError: The port is taken or not allowed, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise CovidCxrError(
            f"Cannot listen on {host}, port {port}: {reason}. Choose another address with --host or --port."
        ) from error
    # Connections inherit it. Without it the body of an answer waits up to 40 ms for the receipt of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family is socket.AF_INET6 else f"http://{host}:{port}"


class _Worker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    def init_process(self) -> None:
        self.watchdog = Watchdog(self.app.settings.timeout)
        super().init_process()

    def handle(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn has no types
        with self.watchdog.watch(conn.sock):
            return super().handle(conn)


class _Arbiter(Arbiter):  # type: ignore[misc] # gunicorn has no types
    def handle_term(self) -> None:
        """Fail ``/readyz`` for a while before the listening ends: balancers still send requests in the meantime."""
        self.app.stop()
        time.sleep(self.app.settings.drain)
        raise StopIteration

    def handle_int(self) -> None:
        """End as after SIGTERM, without the drain; gunicorn's own Ctrl-C drops requests in progress."""
        self.app.stop()
        raise StopIteration


class _Application(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    def __init__(self, settings: ServerSettings, listener: int, ready: Callable[[str], None]) -> None:
        self.settings = settings
        self._listener = listener
        self._ready = ready
        self._model = ""
        self._slot = 0
        self.counters: Path | None = None
        self._stopping = mmap(-1, 1)  # shared with the workers, which are forked: not 0 while the server shuts down
        super().__init__()

    def stop(self) -> None:
        """Tell the workers that the server is shutting down."""
        self._stopping[0] = 1

    def load_config(self) -> None:
        options = {
            "bind": f"fd://{self._listener}",
            "workers": self.settings.workers,
            "threads": self.settings.threads,
            "worker_class": _Worker,
            "loglevel": "warning",
            "pre_fork": self._choose_slot,
            "worker_tmp_dir": str(SHARED_MEMORY) if os.access(SHARED_MEMORY, os.W_OK) else None,
            "post_worker_init": self._worker_started,
            "control_socket_disable": True,  # else a socket in the home directory, from gunicorn 25.1 on
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> "Flask":
        """Load the model in a worker, on one core while another imports Flask: they take about as long.

        Not before the fork: the threads of a session of ONNX Runtime would stay behind in the parent, and every
        prediction would take as long as with one thread.
        """
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here needs its threads, which spin at their start
        reuse_freed_blocks()
        share = max(1, cores() // self.settings.workers)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL)
        with collector_left_out(), ThreadPoolExecutor(1) as other_core:
            loading = other_core.submit(_load_model, self.settings.model, share)
            from PIL import Image

            from covidcxr.web.app import create_app
            from covidcxr.web.http import metrics

            Image.preinit()  # the decoders of common formats, else imported by the first request, as is this codec
            codecs.lookup("idna")
            try:
                predictor = loading.result()
            except CovidCxrError as error:
                raise AppImportError(f"Error: {error}") from error
        sys.setswitchinterval(interval)
        give_back_freed_memory()
        if self.counters:
            metrics.share(self.counters, self._slot)
        self._model = predictor.model
        app = create_app(
            predictor,
            parallel=share,
            guard=self.settings.guard,
            log_addresses=self.settings.log_addresses,
            stopping=lambda: self._stopping[0] != 0,
        )
        app.wsgi_app = TimeoutMiddleware(app.wsgi_app, self.settings.timeout)  # type: ignore[method-assign] # Flask's way
        return app

    def _choose_slot(self, arbiter: Any, worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        """Number a worker that is about to be forked, differently from all that run."""
        taken = {other.slot for other in arbiter.WORKERS.values()}
        worker.slot = self._slot = next(slot for slot in count() if slot not in taken)

    def _worker_started(self, worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the arbiter tells the workers
        if worker.age == 1:
            self._ready(self._model)


def _load_model(path: Path | None, threads: int) -> "Predictor":
    from covidcxr.prediction.predictor import Predictor

    return Predictor.load(path, threads=threads)


def _folder_for_counters() -> Path | None:
    """Create the folder in which all workers count, in memory or else on the disk; None if neither can be written."""
    for parent in (SHARED_MEMORY, None):
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="covidcxr-", dir=parent))
            try:
                (folder / "test").write_bytes(bytes(SMALLEST_FOLDER))
                (folder / "test").unlink()
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                return folder
    logger.warning("No folder for counters can be written. Each worker shows its own in /metrics.")
    return None
