"""``GET /metrics``: counters for Prometheus, of all workers together. They know no file, no patient and no client."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from threading import Lock
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from flask.typing import ResponseReturnValue

from covidcxr import __version__
from covidcxr.labels import LABELS
from covidcxr.prediction.flags import FlagCode
from covidcxr.web.http.board import ROW, Board

if TYPE_CHECKING:
    from prometheus_client.core import Metric

UNMATCHED = "unmatched"
"""The route of requests for an address that is not there."""
STATUSES = (
    *("200", "204", "206", "302", "304", "308", "400", "401", "403", "404", "405", "406", "408", "412", "413"),
    *("415", "416", "422", "429", "500", "503"),
)
OTHER = "other"
"""The status of answers with none of these."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the classes of durations."""
DECLINED = "declined"
"""The label of images that the model gave no answer for."""

Series = tuple[str, ...]


class Metrics:
    """The counters of one worker process, in its row of the board."""

    def __init__(self, board: Board, row: int) -> None:
        self.board = board
        self._row = board.row(row)
        self._lock = Lock()
        self._routes: tuple[str, ...] = ()
        self._places: dict[Series, int] = {}

    def install(self, app: Flask, model: str) -> None:
        """Count the requests of an application whose routes are all there, and answer ``/metrics``."""
        app.add_url_rule("/metrics", "metrics", lambda: self._page(model))
        self._routes = (*sorted({rule.rule for rule in app.url_map.iter_rules()}), UNMATCHED)
        self._places = {series: place for place, series in enumerate(_all_series(self._routes))}
        if len(self._places) > ROW:
            raise ValueError(f"Expected at most {ROW} numbers to count. Received {len(self._places)}.")
        self._row[self._places["running",]] = 0  # what a killed worker left
        app.before_request(self._begin)
        app.after_request(self._end)
        app.teardown_request(self._leave)

    def predicted(self, label: str | None, flags: Iterable[str]) -> None:
        """Count a prediction by its label, None in abstentions, and the codes of its flags."""
        self._add("predictions", label or DECLINED)
        for code in flags:
            self._add("flags", code)

    def refused(self) -> None:
        """Count a file that is no image."""
        self._add("refused")

    def _add(self, *series: str, amount: float = 1) -> None:
        with self._lock:
            self._row[self._places[series]] += amount

    def _begin(self) -> None:
        g.counted_since = time.perf_counter()
        self._add("running")

    def _end(self, response: Response) -> Response:
        if "counted_since" in g:
            seconds, route, status = (
                time.perf_counter() - g.counted_since,
                route_of_request(),
                str(response.status_code),
            )
            self._add("requests", route, status if status in STATUSES else OTHER)
            self._add("class", route, str(bisect_left(SECONDS, seconds)))
            self._add("seconds", route, amount=seconds)
        return response

    def _leave(self, _: BaseException | None) -> None:
        if g.pop("counted_since", None) is not None:
            self._add("running", amount=-1)

    def _page(self, model: str) -> ResponseReturnValue:
        from prometheus_client import CollectorRegistry  # here: it costs 20 ms
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

        registry = CollectorRegistry()
        registry.register(_Collector(lambda: self._families(model)))
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    def _families(self, model: str) -> "Iterator[Metric]":
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        yield InfoMetricFamily("covidcxr_model", "What answers.", {"model": model, "version": __version__})
        running = GaugeMetricFamily("covidcxr_requests_in_progress", "Requests being answered.")
        running.add_metric([], self._total("running"))
        yield running
        requests = CounterMetricFamily(
            "covidcxr_requests", "Requests answered, by route and status.", labels=["route", "status"]
        )
        predictions = CounterMetricFamily(
            "covidcxr_predictions", "Images scored, by the label they got.", labels=["label"]
        )
        flags = CounterMetricFamily("covidcxr_flags", "Flags given to images.", labels=["code"])
        for family, name in ((requests, "requests"), (predictions, "predictions"), (flags, "flags")):
            for series in self._places:
                if series[0] == name and ((value := self._total(*series)) or family is not requests):
                    family.add_metric(series[1:], value)
            yield family
        refused = CounterMetricFamily("covidcxr_images_refused", "Files that were no image.")
        refused.add_metric([], self._total("refused"))
        yield refused
        seconds = HistogramMetricFamily(
            "covidcxr_request_duration_seconds", "From the head of a request to its answer.", labels=["route"]
        )
        for route in self._routes:
            counts = [*accumulate(self._total("class", route, str(i)) for i in range(len(SECONDS) + 1))]
            if counts[-1]:
                ends = zip((*map(str, SECONDS), "+Inf"), counts, strict=True)
                seconds.add_metric([route], list(ends), self._total("seconds", route))
        yield seconds

    def _total(self, *series: str) -> float:
        return self.board.total(self._places[series])


class _Collector:
    """What prometheus_client calls a collector."""

    def __init__(self, collect: Any) -> None:  # noqa: ANN401
        self.collect = collect


def route_of_request() -> str:
    """Return the pattern of the address that was asked for: it holds nothing that the client made up."""
    return request.url_rule.rule if request.url_rule else UNMATCHED


def _all_series(routes: Sequence[str]) -> Iterator[Series]:
    """Name every number in one order, the same in all workers: the vocabularies are closed."""
    yield from (("running",), ("refused",))
    yield from (("predictions", label) for label in (*LABELS, DECLINED))
    yield from (("flags", code) for code in FlagCode)
    for route in routes:
        yield from (("requests", route, status) for status in (*STATUSES, OTHER))
        yield from chain((("class", route, str(i)) for i in range(len(SECONDS) + 1)), [("seconds", route)])
