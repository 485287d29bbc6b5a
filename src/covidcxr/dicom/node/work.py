"""What happens to a queue in the background: images are scored, results are sent."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import Final, Protocol

import pydicom

from covidcxr.dicom.node.eligibility import NO_CHEST, Reason
from covidcxr.dicom.node.queue import Job, Queue, State, pause_after
from covidcxr.dicom.results.report import results
from covidcxr.images.decode import decode_image
from covidcxr.prediction.predictor import Predictor

MOST_TRIES: Final = 5
"""After so many tries that ended with the process an image is given up: it might be what ends it."""
AFTER_ERROR_S: Final = 5.0
BATCH: Final = 20
"""Images whose results go through one association."""

logger = logging.getLogger(__name__)


class PeerError(Exception):
    """A peer cannot be reached or broke off; the message holds no value of a data set."""


class Peer(Protocol):
    """Where results go."""

    def connect(self) -> AbstractContextManager[Callable[[Path], bool]]:
        """Return what sends one file and tells whether the peer took it; raises PeerError."""


class Scorer:
    """Scores what a queue has received, one image after the other."""

    def __init__(self, queue: Queue, predictor: Predictor) -> None:
        self._queue = queue
        self._predictor = predictor

    def step(self) -> bool:
        """Score the next image; return whether there was one."""
        job = self._queue.next_received()
        if job is None:
            return False
        if job.tries > MOST_TRIES:
            self._give_up(job, "the process ended while it was scored")
            return True
        try:
            self._score(job)
        except Exception as error:  # whatever the decoders raise; its message may quote the patient's name
            self._give_up(job, type(error.__cause__ or error).__name__)
        return True

    def _score(self, job: Job) -> None:
        started = time.perf_counter()
        content = self._queue.read(job)
        grey = decode_image(content, "image")
        prediction = self._predictor.predict(grey)
        against = [flag.code for flag in prediction.flags if flag.declines and flag.code in NO_CHEST]
        if against:
            self._queue.drop(job, State.LEFT_ALONE, Reason.GATE)
            logger.info("left alone: %s: %s: %s", job.instance, Reason.GATE, against[0])
            return
        ds = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
        made = results(ds, prediction, grey)
        self._queue.finish(job, made)
        logger.info("scored: %s: %d results in %.2f s", job.instance, len(made), time.perf_counter() - started)

    def _give_up(self, job: Job, reason: str) -> None:
        self._queue.drop(job, State.FAILED, reason)
        logger.warning("not scored: %s: %s", job.instance, reason)


class Sender:
    """Sends the results in a queue to a peer, for as long as it takes."""

    def __init__(self, queue: Queue, peer: Peer) -> None:
        self._queue = queue
        self._peer = peer
        self._failures = 0
        self._not_before = 0.0

    def step(self) -> bool:
        """Send what is due; return whether there was anything that could be tried."""
        now = time.time()
        waiting = self._queue.due(now, BATCH) if now >= self._not_before else []
        if not waiting:
            return False
        try:
            with self._peer.connect() as send:
                for job in waiting:
                    self._send(job, send)
            self._failures = 0
        except PeerError as error:
            self._failures += 1
            pause = pause_after(self._failures)
            self._not_before = time.time() + pause
            logger.warning("results wait: %s; next try in %.0f s", error, pause)
        return True

    def _send(self, job: Job, send: Callable[[Path], bool]) -> None:
        if all(send(path) for path in self._queue.results(job)):
            self._queue.delivered(job)
            logger.info("delivered: %s", job.instance)
        else:
            pause = self._queue.postpone(job, time.time())
            logger.warning("refused by the peer: results of %s; next try in %.0f s", job.instance, pause)


def run(step: Callable[[], bool], stop: threading.Event, pause_s: float = 0.1) -> None:
    """Repeat a step until ``stop``, with a pause after one that had nothing to do and a longer one after an error."""
    while not stop.is_set():
        try:
            if not step():
                stop.wait(pause_s)
        except Exception as error:  # a full disk, for example: it may go away, and all that was promised is still here
            logger.error("a step failed: %s", type(error).__name__)
            stop.wait(AFTER_ERROR_S)
