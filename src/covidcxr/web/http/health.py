"""Liveness and readiness, for whatever starts, stops and balances servers."""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue

from covidcxr.web.http.problems import problem

if TYPE_CHECKING:
    from covidcxr.prediction.predictor import Predictor

PROBE_SIDE = 256
"""Pixels of the probe image, a grey ramp: one for each value."""


class Readiness:
    """Whether the server answers predictions.

    Args:
        predictor: Loaded model.
        stopping: Returns whether the server is shutting down.
    """

    def __init__(self, predictor: "Predictor", stopping: Callable[[], bool]) -> None:
        self._predictor = predictor
        self._stopping = stopping
        self._predicts = False
        self._lock = Lock()

    def reason(self) -> str | None:
        """Return why the server is not ready, None if it is. A probe image is scored until that works once."""
        if self._stopping():
            return "The server is shutting down."
        with self._lock:
            self._predicts = self._predicts or self._probe()
        return None if self._predicts else "The model fails; the log of the server says why."

    def _probe(self) -> bool:
        ramp = np.broadcast_to(np.arange(PROBE_SIDE, dtype=np.uint8), (PROBE_SIDE, PROBE_SIDE))
        try:
            self._predictor.predict(np.ascontiguousarray(ramp))
        except Exception:  # whatever it is, there is no prediction
            current_app.logger.exception("The model failed on the probe image")
            return False
        return True


def create_health(model: str, readiness: Readiness) -> Blueprint:
    """Create the blueprint of ``/healthz`` and ``/readyz``."""
    health = Blueprint("health", __name__)

    @health.get("/healthz")
    def healthz() -> ResponseReturnValue:
        """Report that the process answers."""
        return {"status": "ok", "model": model}

    @health.get("/readyz")
    def readyz() -> ResponseReturnValue:
        """Report whether the server answers predictions."""
        reason = readiness.reason()
        return problem(503, reason) if reason else {"status": "ready", "model": model}

    return health
