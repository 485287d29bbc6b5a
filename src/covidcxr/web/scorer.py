"""Uploaded bytes to answers, for all interfaces, each of them counted."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from covidcxr.errors import ImageError
from covidcxr.web.engine import Engine
from covidcxr.web.http.metrics import Metrics

if TYPE_CHECKING:
    from covidcxr.images.grey import Grey

NOTHING: frozenset[str] = frozenset()


class Scorer:
    """An engine whose predictions are counted.

    Attributes:
        engine: Decodes and scores.
    """

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self.engine = engine
        self._metrics = metrics

    def score(self, image: "bytes | Grey", name: str, include: Collection[str] = NOTHING) -> dict[str, Any]:
        """Return the object about an image, see covidcxr.web.jobs.score.

        Raises:
            ImageError: The bytes are not a single image; the message calls it ``name``.
        """
        answer: dict[str, Any] = self._call("score", image, name, include)
        self._count(answer)
        return answer

    def page(self, data: bytes, name: str, prevalence: float) -> bytes:
        """Return a PDF about an image, see covidcxr.web.jobs.page.

        Raises:
            ImageError: The bytes are not a single image; the message calls it ``name``.
        """
        answer, page = self._call("page", data, name, prevalence)
        self._count(answer)
        return bytes(page)

    def structured_report(self, data: bytes, name: str) -> bytes:
        """Return a DICOM structured report about a DICOM image, see covidcxr.web.jobs.structured_report.

        Raises:
            ImageError: The bytes are not a single image; the message calls it ``name``.
            ReportError: No report can be made about it.
        """
        answer, report = self._call("structured_report", data, name)
        self._count(answer)
        return bytes(report)

    def _call(self, job: str, *arguments: Any) -> Any:  # noqa: ANN401 - each job has its own
        try:
            return self.engine.call(job, *arguments)
        except ImageError:
            self._metrics.refused()
            raise

    def _count(self, answer: Mapping[str, Any]) -> None:
        self._metrics.predicted(answer["label"], [flag["code"] for flag in answer["flags"]])
