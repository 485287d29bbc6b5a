"""What an audit found out about a model: it travels in the model file, with each prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self


class Verdict(StrEnum):
    """How a test of the audit came out."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One test of the audit.

    Attributes:
        test: Name of the test, such as ``lungs_erased``.
        verdict: By the rule of the test.
        value: What was measured.
        low: Lower end of its 95 % interval.
        high: Upper end.
        says: One sentence that a student understands.
    """

    test: str
    verdict: Verdict
    value: float
    low: float
    high: float
    says: str


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The outcome of ``covidcxr audit``.

    Attributes:
        date: ISO 8601.
        data_hash: ``manifest.data_hash`` of the images that it used.
        findings: In the order of the tests.
    """

    date: str
    data_hash: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all findings."""
        return worst([finding.verdict for finding in self.findings])

    def to_dict(self) -> dict[str, Any]:
        """Return what goes with each prediction: the verdict, and the sentence of every test that did not pass."""
        against = [finding.says for finding in self.findings if finding.verdict is not Verdict.PASS]
        return {"verdict": self.verdict, "date": self.date, "says": against}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the audit whose ``dataclasses.asdict`` went through JSON.

        Raises:
            ValueError, KeyError, TypeError: Not such an audit.
        """
        findings = tuple(
            Finding(**{**finding, "verdict": Verdict(finding["verdict"])}) for finding in values["findings"]
        )
        return cls(date=values["date"], data_hash=values["data_hash"], findings=findings)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the worst of some verdicts, ``pass`` of none."""
    order = list(Verdict)
    return max(verdicts, key=order.index, default=Verdict.PASS)
