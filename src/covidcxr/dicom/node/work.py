"""Background work on a queue: score images, send results."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import Final, Protocol

import pydicom
from pydicom.dataset import Dataset

from covidcxr.dicom.node.eligibility import NOT_A_CHEST, SkipReason
from covidcxr.dicom.node.queue import Queue, QueueJob, State, retry_delay
from covidcxr.dicom.results.report import results
from covidcxr.images.decode import decode_image
from covidcxr.prediction.flags import FlagCode
from covidcxr.prediction.predictor import Predictor

MAX_ATTEMPTS: Final = 5
"""Attempts that ended with the process before an image counts as failed; the image may be the cause."""
AFTER_ERROR_S: Final = 5.0
BATCH: Final = 20
"""Images whose results go through one association."""

logger = logging.getLogger(__name__)


class PeerError(Exception):
    """A peer cannot be reached or ended the conversation; the message holds no value of a data set."""


class Peer(Protocol):
    """Destination of results."""

    def connect(self) -> AbstractContextManager[Callable[[Path], bool]]:
        """Return a function that sends one file and tells whether the peer accepted it; raises PeerError."""


class QueueScorer:
    """Scores the received images of a queue, one after the other."""

    def __init__(self, queue: Queue, predictor: Predictor) -> None:
        self._queue = queue
        self._predictor = predictor

    def step(self) -> bool:
        """Score the next image; return whether there was one."""
        job = self._queue.next_received()
        if job is None:
            return False
        if job.attempts > MAX_ATTEMPTS:
            self._fail(job, "the process ended while it was scored")
            return True
        try:
            self._score(job)
        except Exception:  # of the disk, not of the image
            self._queue.release(job)
            raise
        return True

    def _score(self, job: QueueJob) -> None:
        started = time.perf_counter()
        content = self._queue.read(job)
        try:
            made = self._results(content)
        except Exception as error:  # decoders raise anything, and their messages may quote the patient's name
            self._fail(job, type(error.__cause__ or error).__name__)
            return
        if isinstance(made, FlagCode):
            self._queue.drop(job, State.SKIPPED)
            logger.info("skipped: %s: %s: %s", job.instance, SkipReason.GATE, made)
            return
        self._queue.finish(job, made)
        logger.info("scored: %s: %d results in %.2f s", job.instance, len(made), time.perf_counter() - started)

    def _results(self, content: bytes) -> list[Dataset] | FlagCode:
        """Return the results of an image, or the flag of one that is not a frontal chest radiograph."""
        grey = decode_image(content, "image")
        prediction = self._predictor.predict(grey)
        for flag in prediction.flags:
            if flag.declines and flag.code in NOT_A_CHEST:
                return flag.code
        return results(pydicom.dcmread(BytesIO(content), stop_before_pixels=True), prediction, grey)

    def _fail(self, job: QueueJob, reason: str) -> None:
        self._queue.drop(job, State.FAILED)
        logger.warning("failed: %s: %s", job.instance, reason)


class ResultSender:
    """Sends the results in a queue to a peer until it accepts them."""

    def __init__(self, queue: Queue, peer: Peer) -> None:
        self._queue = queue
        self._peer = peer
        self._failures = 0
        self._not_before = 0.0

    def step(self) -> bool:
        """Send results that are due; return whether there were any."""
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
            delay = retry_delay(self._failures)
            self._not_before = time.time() + delay
            logger.warning("delivery failed: %s; next attempt in %.0f s", error, delay)
        return True

    def _send(self, job: QueueJob, send: Callable[[Path], bool]) -> None:
        if all(send(path) for path in self._queue.results(job)):
            self._queue.delivered(job)
            logger.info("delivered: %s", job.instance)
        else:
            delay = self._queue.postpone(job, time.time())
            logger.warning("refused by the peer: results of %s; next attempt in %.0f s", job.instance, delay)


def run(step: Callable[[], bool], stop: threading.Event, pause_s: float = 0.1) -> None:
    """Repeat a step until ``stop`` is set; pause after a step without work, and longer after an error."""
    while not stop.is_set():
        try:
            if not step():
                stop.wait(pause_s)
        except Exception as error:  # for example a full disk: nothing is lost, and it may have space again later
            logger.error("a step failed: %s", type(error).__name__)
            stop.wait(AFTER_ERROR_S)
