"""The process that holds the model: the web process sends it jobs and knows neither arrays nor ONNX Runtime.

A start is shorter this way, for the model loads on one core while Flask is imported on another; and what kills a
decoder of hostile bytes cuts no connection. A channel is a pair of sockets that carries one job at a time; a process
has as many as it does jobs at the same time. It ends when the other end of its channels is closed, and a web process
whose engine has ended is replaced together with it.
"""

import os
import pickle
import select
import signal
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import BufferedRWPair
from pathlib import Path
from queue import LifoQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, cast

from covidcxr._system import collector_left_out, cores, give_back_freed_memory, reuse_freed_blocks
from covidcxr.errors import CovidCxrError
from covidcxr.web.engine import EngineLostError

if TYPE_CHECKING:
    from covidcxr.web.engine import Engine

Outcome = tuple[Literal["done", "raised", "failed"], Any]
"""Of a job: what it returned, a CovidCxrError, or the traceback of a bug."""

_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTTIN", "SIGTTOU")
"""Signals that stir web processes; what they began is still to be finished here."""


def launch(model: Path | None, *, workers: int) -> list[socket.socket]:
    """Fork a process with a model. The caller must have no threads, and close what it gets when it does not need it.

    Args:
        model: Model file, None takes the one that comes with the package.
        workers: Web processes that share the cores.

    Returns:
        The near ends of its channels, as many as one of these processes has cores.
    """
    pairs = [socket.socketpair() for _ in range(max(1, cores() // workers))]
    if os.fork() == 0:
        try:
            _serve([far for _, far in pairs], model)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)  # what the parent registered for its own end is not for here
    for _, far in pairs:
        far.close()
    return [near for near, _ in pairs]


class RemoteEngine:
    """The engine at the other end of channels.

    Args:
        channels: From launch(); waits until the model is loaded.
        lost: Called, in a thread of its own, as soon as the process at the other end is gone.

    Attributes:
        model: Name and hash of the model file.
        artifact: What the file says about itself, see covidcxr.web.engine.Engine.

    Raises:
        CovidCxrError: The model cannot be loaded, see covidcxr.prediction.predictor.Predictor.load.
        EngineLostError: The process ended before.
    """

    model: str
    artifact: Mapping[str, Any]

    def __init__(self, channels: Sequence[socket.socket], lost: Callable[[], None]) -> None:
        # The one used last comes first: its thread at the other end has what a picture takes in its cache and heap.
        self._free: LifoQueue[BufferedRWPair] = LifoQueue()
        files = [_file(channel) for channel in channels]
        self.model, self.artifact = self._outcome(files[0])
        for file in files:
            self._free.put(file)
        Thread(target=self._watch, args=(channels[0], lost), name="engine watch", daemon=True).start()

    def call(self, job: str, *arguments: Any) -> Any:  # noqa: ANN401 - each job has its own
        """Do a job, see covidcxr.web.engine.Engine."""
        file = self._free.get()
        try:
            return self._outcome(file, (job, arguments))
        finally:
            self._free.put(file)

    @staticmethod
    def _watch(channel: socket.socket, lost: Callable[[], None]) -> None:
        _wait_for_end(channel)
        lost()

    def _outcome(self, file: BufferedRWPair, request: tuple[str, tuple[Any, ...]] | None = None) -> Any:  # noqa: ANN401
        try:
            if request is not None:
                _send(file, request)
            kind, value = cast("Outcome", pickle.load(file))
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise EngineLostError("Expected an answer of the process with the model. Received its end.") from error
        if kind == "raised":
            raise value
        if kind == "failed":
            raise RuntimeError(f"in the process with the model:\n{value}")
        return value


def _serve(channels: Sequence[socket.socket], model: Path | None) -> None:
    """Do jobs until the other end of the channels is closed."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for name in _IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    _close_all_but(channels)
    files = [_file(channel) for channel in channels]
    try:
        engine = _load(model, len(channels))
    except CovidCxrError as error:
        _send(files[0], ("raised", error))
        return
    hello: Outcome = ("done", (engine.model, engine.artifact))
    with suppress(BrokenPipeError):  # the web process has ended: so does this one, below
        _send(files[0], hello)
    give_back_freed_memory()  # while the web process makes its application
    for file in files:
        Thread(target=_work, args=(file, engine), daemon=True).start()
    _wait_for_end(channels[0])  # here, for it also ends jobs that hang


def _load(model: Path | None, parallel: int) -> "Engine":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here needs it, and its threads spin at their start
    reuse_freed_blocks()
    with collector_left_out():
        from PIL import Image

        from covidcxr.prediction.predictor import Predictor
        from covidcxr.web.http.logs import silence_decoders
        from covidcxr.web.jobs import LocalEngine

        silence_decoders()
        Image.preinit()  # the decoders of common formats, else imported by the first request
        predictor = Predictor.load(model, threads=parallel)
        return LocalEngine(predictor, parallel=parallel)


def _work(file: BufferedRWPair, engine: "Engine") -> None:
    """Do the jobs of one channel, one after the other; these threads are the same ones all the time."""
    with suppress(OSError, EOFError, pickle.UnpicklingError):
        while True:
            _send(file, _do(engine, *pickle.load(file)))  # in one line: no name holds on to an upload that is answered


def _do(engine: "Engine", job: str, arguments: tuple[Any, ...]) -> Outcome:
    try:
        return "done", engine.call(job, *arguments)
    except CovidCxrError as error:
        return "raised", error
    except Exception:  # a bug: the web process logs it and answers
        return "failed", traceback.format_exc()


def _send(file: BufferedRWPair, value: object) -> None:
    pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)
    file.flush()


def _file(channel: socket.socket) -> BufferedRWPair:
    return channel.makefile("rwb")


def _wait_for_end(channel: socket.socket) -> None:
    """Wait until the other end of a channel is closed; take nothing out of it."""
    end = select.poll()
    end.register(channel, 0)  # what is always reported: that the other end is closed
    end.poll()


def _close_all_but(channels: Sequence[socket.socket]) -> None:
    """Close what the parent had open besides input and output.

    The listening socket, and the near ends of the channels: while this process holds copies, their end is never told.
    """
    kept = {0, 1, 2, *(channel.fileno() for channel in channels)}
    for number in {int(path.name) for path in Path("/dev/fd").iterdir()} - kept:
        with suppress(OSError):  # what listed them
            os.close(number)
