"""Whether this server lives, and whether it can predict: for whoever starts, stops and balances servers."""

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from flask import Blueprint
from flask.typing import ResponseReturnValue

from covidcxr.web.board import Board
from covidcxr.web.problems import problem

if TYPE_CHECKING:
    from covidcxr.predictor import Predictor

PROBE_SIDE = 256
"""Pixels of the image that readiness is tried on, a grey ramp: one for every value."""


class Readiness:
    """Knows whether predictions are answered."""

    def __init__(self, predictor: "Predictor", board: Board) -> None:
        self._predictor = predictor
        self._board = board
        self._predicts = False
        self._lock = Lock()

    def reason(self) -> str | None:
        """Return why not, None if ready. One prediction is tried: at the first question, and again until it works."""
        if self._board.stopping:
            return "Expected a server that goes on. Received one that is about to end."
        with self._lock:
            self._predicts = self._predicts or self._try()
        return None if self._predicts else "Expected a prediction. Received a failure of the model."

    def _try(self) -> bool:
        ramp = np.broadcast_to(np.arange(PROBE_SIDE, dtype=np.uint8), (PROBE_SIDE, PROBE_SIDE))
        try:
            self._predictor.predict(np.ascontiguousarray(ramp))
        except Exception:  # whatever it is, it is no prediction
            return False
        return True


def create_health(model: str, readiness: Readiness) -> Blueprint:
    """Make the blueprint of ``/healthz`` and ``/readyz``."""
    health = Blueprint("health", __name__)

    @health.get("/healthz")
    def healthz() -> ResponseReturnValue:
        """Tell that the process answers."""
        return {"status": "ok", "model": model}

    @health.get("/readyz")
    def readyz() -> ResponseReturnValue:
        """Tell whether predictions are answered."""
        reason = readiness.reason()
        return problem(503, reason) if reason else {"status": "ready", "model": model}

    return health
