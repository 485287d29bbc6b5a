"""The node as a process: receiver, scorer and sender, from start to signal."""

import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from covidcxr.dicom.node.queue import Queue
from covidcxr.dicom.node.server import Node, NodeSettings
from covidcxr.dicom.node.work import Peer, QueueScorer, ResultSender, run
from covidcxr.prediction.predictor import Predictor

SHUTDOWN_S = 30
"""Time to finish scoring and sending at the end; whatever is left stays in the queue."""


def serve(
    settings: NodeSettings, folder: Path, predictor: Predictor, peer: Peer | None, ready: Callable[[int, str], None]
) -> None:
    """Receive, score and send until SIGTERM or Ctrl-C.

    Args:
        settings: Settings of the receiver.
        folder: Folder of the queue.
        predictor: Model that scores the images.
        peer: Destination of results; None keeps them in the queue.
        ready: Called once with the port and the name of the model when the node listens.

    Raises:
        CovidCxrError: The port cannot be listened on, or another process uses the queue.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Queue(folder, predictor.model) as queue:
        steps = [QueueScorer(queue, predictor).step] + ([ResultSender(queue, peer).step] if peer else [])
        threads = [threading.Thread(target=partial(run, step, stop), daemon=True) for step in steps]
        node = Node(queue, settings)
        port = node.start()
        for thread in threads:
            thread.start()
        ready(port, predictor.model)
        stop.wait()
        node.stop()
        for thread in threads:
            thread.join(SHUTDOWN_S)
