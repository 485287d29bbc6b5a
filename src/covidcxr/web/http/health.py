"""Whether this server lives, and whether it can predict: for whoever starts, stops and balances servers."""

from threading import Lock

from flask import Blueprint
from flask.typing import ResponseReturnValue

from covidcxr.web.engine import Engine
from covidcxr.web.http.board import Board
from covidcxr.web.http.problems import problem


class Readiness:
    """Knows whether predictions are answered."""

    def __init__(self, engine: Engine, board: Board) -> None:
        self._engine = engine
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
        try:
            self._engine.call("probe")
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
