"""The outcome of a model's shortcut audit. It travels in the model file and with every prediction."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self


class Verdict(StrEnum):
    """The outcome of a test, from good to bad."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one test of the audit.

    Attributes:
        test: Name of the test, such as ``lungs_erased``.
        verdict: Verdict by the limits of the test.
        value: Measured value, in the unit of the test.
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
        date: Date, ISO 8601.
        data_hash: ``manifest.data_hash`` of the images used.
        findings: Findings in the order of the tests.
    """

    date: str
    data_hash: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings."""
        return worst([finding.verdict for finding in self.findings])

    def to_dict(self) -> dict[str, Any]:
        """Return the part that goes with every prediction: verdict, date, sentences of tests that did not pass."""
        against = [finding.says for finding in self.findings if finding.verdict is not Verdict.PASS]
        return {"verdict": self.verdict, "date": self.date, "says": against}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the audit whose ``dataclasses.asdict`` went through JSON.

        Raises:
            ValueError, KeyError, TypeError: Not such an audit.
        """
        findings = tuple(
            Finding(**{**finding, "verdict": Verdict(finding["verdict"]), "says": _reworded(finding["says"])})
            for finding in values["findings"]
        )
        return cls(date=values["date"], data_hash=values["data_hash"], findings=findings)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the worst of the verdicts, ``pass`` if there are none."""
    order = list(Verdict)
    return max(verdicts, key=order.index, default=Verdict.PASS)


_WORDINGS: Final = (
    (
        r"Whoever knows only which collection a picture comes from names (\d+)% of the classes right "
        r"\(guessing: (\d+)%\)",
        r"Knowing only the collection gives the right class \1 % of the time (guessing: \2 %)",
    ),
    (
        r"A thumbnail of 8x8 pixels, on which nobody can see a lung, reaches (\d+)% of what the model has "
        r"above guessing\.",
        r"An 8x8 thumbnail, too small to show a lung, achieves \1 % of the model's advantage over guessing.",
    ),
    (
        r"show a patient or a picture that stands in training too\.",
        r"show a patient or an image that is also in the training data.",
    ),
    (
        r"The model tells COVID-19 from the rest with an AUROC of (\S+) with the lungs painted over "
        r"\(whole picture: (\S+), guessing: (\S+)\): .*",
        r"With the lungs painted over, the model separates COVID-19 from the rest with an AUROC of \1 "
        r"(whole image: \2, guessing: \3).",
    ),
    (
        r"The model tells COVID-19 from the rest with an AUROC of (\S+) from the outer 15 % of the picture alone "
        r"\(whole picture: (\S+), guessing: (\S+)\): .*",
        r"From the outer 15 % of the image alone, the model separates COVID-19 from the rest with an AUROC of \1 "
        r"(whole image: \2, guessing: \3).",
    ),
    (
        r"With nothing but the lungs to see, the model's AUROC for COVID-19 goes from (\S+) to (\S+): .*",
        r"When only the lungs are visible, the model's AUROC for COVID-19 changes from \1 to \2.",
    ),
    (
        r"The lungs take (\d+)% of the area and (\d+)% of the model's evidence: .*",
        r"The lungs hold \2 % of the model's evidence on \1 % of the area.",
    ),
    (
        r"Of pictures that are all (\S+), the model's features tell from which collection they come \((.+)\): "
        r"(\d+)% of the way from guessing to certainty\.",
        r"Even among \1 images alone, the features reveal the collection (\2): \3 on a scale from 0, guessing, to 100, "
        r"certainty.",
    ),
    (
        r"Of pictures that are all (\S+), the probability of COVID-19 alone tells (.+?) with an AUROC of "
        r"(\S+), where a model that looks at the disease would have about 0\.50\.",
        r"Even among \1 images alone, the probability of COVID-19 separates \2 with an AUROC of \3; a model that "
        r"judges the disease would have about 0.50.",
    ),
    (
        r"With a mirrored picture, which leaves the disease as it is, (\d+)% of the answers stay the same\.",
        r"\1 % of the answers stay the same when the image is mirrored.",
    ),
    (
        r"With another exposure, which leaves the disease as it is, (\d+)% of the answers stay the same\.",
        r"\1 % of the answers stay the same when the exposure changes.",
    ),
    (
        r"Hiding what the map marks, and showing only that, moves the answer by (\S+) more than random places do: .*",
        r"Hiding or keeping what the map marks changes the answer by \1 more than random places do.",
    ),
    (
        r"When all weights of the network are shuffled its map keeps a rank correlation of (\S+) with the real one: .*",
        r"With all weights of the network shuffled, the map keeps a rank correlation of \1 with the real one.",
    ),
    (r"(changes the answer of \d+)% of the images", r"\1 % of the images"),
    (r"AP from PA pictures", "AP from PA images"),
)
"""The sentences in the shipped model file, in better words; the file itself keeps the bytes that were measured."""


def _reworded(sentence: str) -> str:
    for pattern, replacement in _WORDINGS:
        sentence = re.sub(pattern, replacement, sentence)
    return sentence
