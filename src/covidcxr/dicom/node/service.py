"""The node as a process: what receives, what scores and what sends, from start to signal."""

import signal
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from covidcxr.dicom.node.queue import Queue
from covidcxr.dicom.node.server import Limits, Node
from covidcxr.dicom.node.work import Peer, Scorer, Sender, run
from covidcxr.prediction.predictor import Predictor

SHUTDOWN_S = 30
"""What is being scored or sent at the end gets so long; the queue has the rest."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to receive.

    Attributes:
        ae_title: Our application entity title.
        host: Address to listen on.
        port: TCP port, 0 takes a free one.
        allow: Application entities that may call; empty for all.
        limits: What they may ask.
        tls: How to encrypt; None for no encryption.
    """

    ae_title: str
    host: str
    port: int
    allow: tuple[str, ...]
    limits: Limits
    tls: ssl.SSLContext | None


def serve(
    settings: Settings, folder: Path, predictor: Predictor, peer: Peer | None, ready: Callable[[int, str], None]
) -> None:
    """Receive, score and send until SIGTERM or Ctrl-C.

    Args:
        settings: How to receive.
        folder: Of the queue.
        predictor: Scores.
        peer: Where results go; None keeps them in the queue.
        ready: Called once with the port and the name of the model as soon as images are received.

    Raises:
        CovidCxrError: The port cannot be listened on, or another process uses the queue.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Queue(folder, predictor.model) as queue:
        steps = [Scorer(queue, predictor).step] + ([Sender(queue, peer).step] if peer else [])
        threads = [threading.Thread(target=partial(run, step, stop), daemon=True) for step in steps]
        node = Node(queue, settings.ae_title, allow=settings.allow, limits=settings.limits)
        port = node.start(settings.host, settings.port, settings.tls)
        for thread in threads:
            thread.start()
        ready(port, predictor.model)
        stop.wait()
        node.stop()
        for thread in threads:
            thread.join(SHUTDOWN_S)
