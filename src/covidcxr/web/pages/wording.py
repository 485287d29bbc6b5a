"""Names and number formats for pages and reports."""

from covidcxr.labels import Label
from covidcxr.prediction.verdict import Verdict

CLASS_NAMES = {
    Label.NORMAL: "Normal",
    Label.PNEUMONIA: "Other pneumonia",
    Label.COVID: "COVID-19",
}
VERDICTS = {Verdict.PASS: "passed", Verdict.WARN: "passed, with warnings", Verdict.FAIL: "not passed"}
"""Results of an audit."""
INTERVAL = (
    "A second calibration of the same score on validation images (Venn-Abers). It need not contain the probability "
    "above."
)
"""Explanation of the interval below the probabilities."""


def percent(share: float, digits: int = 0) -> str:
    """Format a share 0..1 as text.js does: what is only close to 0 or 100 % is never shown as 0 % or 100 %."""
    value, unit = 100 * share, 10**-digits
    if value < unit / 2:
        return f"< {unit:.{digits}f} %"
    if value > 100 - unit / 2:
        return f"> {100 - unit:.{digits}f} %"
    return f"{value:.{digits}f} %"
