"""``GET /metrics``: counters for Prometheus. They hold nothing of a file, a patient or a client.

With share(), every worker process counts in files of one folder and the page sums over them. A worker is counted under
its slot, not its process number: its replacement takes over its files, so no count is lost and no file piles up.
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from covidcxr import __version__
from covidcxr.labels import LABELS
from covidcxr.prediction.flags import FlagCode

if TYPE_CHECKING:
    from covidcxr.prediction.predictor import Prediction

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable in which prometheus_client looks for the folder that processes share."""
UNMATCHED = "unmatched"
"""Route of requests for an address that does not exist."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram of durations."""
DECLINED = "declined"
"""Label of images for which the model gave no answer."""


def share(folder: Path, slot: int) -> None:
    """Count in files that all workers read, from now on.

    Args:
        folder: Existing folder, the same for all workers.
        slot: Number of this worker, different from those of the workers that run at the same time.
    """
    os.environ[FOLDER] = str(folder)
    multiprocess.mark_process_dead(slot)  # type: ignore[no-untyped-call] # a killed worker left requests in progress
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: slot)  # type: ignore[no-untyped-call]


class Metrics:
    """The counters of one application."""

    def __init__(self, model: str) -> None:
        self._registry = registry = CollectorRegistry()
        info = Gauge(
            "covidcxr_model_info",
            "Model and version that answer.",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="max",
        )
        self._running = Gauge(
            "covidcxr_requests_in_progress",
            "Requests in progress.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._requests = Counter(
            "covidcxr_requests", "Requests answered, by route and status.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "covidcxr_request_duration_seconds",
            "Time from the head of a request to its answer.",
            ["route"],
            registry=registry,
            buckets=SECONDS,
        )
        self._predictions = Counter("covidcxr_predictions", "Images scored, by label.", ["label"], registry=registry)
        self._flags = Counter("covidcxr_flags", "Flags given to images, by code.", ["code"], registry=registry)
        self._refused = Counter("covidcxr_images_refused", "Files that were no image.", registry=registry)
        info.labels(model, __version__).set(1)
        for label in (*LABELS, DECLINED):  # listed from the start, as 0
            self._predictions.labels(label)
        for code in FlagCode:
            self._flags.labels(code)

    def install(self, app: Flask) -> None:
        """Count the requests of an application and answer ``/metrics``."""
        app.add_url_rule("/metrics", "metrics", self._page)
        app.before_request(self._begin)
        app.after_request(self._end)
        app.teardown_request(self._leave)

    def predicted(self, prediction: "Prediction") -> None:
        """Count a prediction by its label and its flags."""
        self._predictions.labels(prediction.label or DECLINED).inc()
        for flag in prediction.flags:
            self._flags.labels(flag.code).inc()

    def refused(self) -> None:
        """Count a file that is no image."""
        self._refused.inc()

    def _begin(self) -> None:
        g.counted_since = time.perf_counter()
        self._running.inc()

    def _end(self, response: Response) -> Response:
        if "counted_since" in g:
            route = route_of_request()
            self._requests.labels(route, response.status_code).inc()
            self._seconds.labels(route).observe(time.perf_counter() - g.counted_since)
        return response

    def _leave(self, _: BaseException | None) -> None:
        if g.pop("counted_since", None) is not None:
            self._running.dec()

    def _page(self) -> ResponseReturnValue:
        registry = self._registry
        if FOLDER in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def route_of_request() -> str:
    """Return the pattern of the requested address, which holds nothing that the client made up."""
    return request.url_rule.rule if request.url_rule else UNMATCHED
