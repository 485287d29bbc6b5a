"""Coded concepts of all results; concepts that no standard scheme has are in a private one."""

from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from covidcxr import __version__
from covidcxr.labels import Label
from covidcxr.prediction.flags import FlagCode
from covidcxr.prediction.verdict import Verdict

SCHEME: Final = "99COVIDCXR"
"""Designator of the private scheme; starts with 99 (PS3.16 section 8)."""

FINDINGS: Final = {
    Label.NORMAL: Code("17621005", "SCT", "Normal"),
    Label.PNEUMONIA: Code("233604007", "SCT", "Pneumonia"),
    Label.COVID: Code("840539006", "SCT", "COVID-19"),
}
"""SNOMED CT."""
CERTAINTY: Final = Code("111012", "DCM", "Certainty of Finding")
"""PS3.16 annex D: 0 to 100, percent."""
PERCENT: Final = Code("%", "UCUM", "Percent")
CHEST_RADIOGRAPHY: Final = Code("399208008", "SCT", "Plain chest X-ray")
CHEST: Final = Code("51185008", "SCT", "Chest")
"""PS3.16 CID 4009."""
COMMENT: Final = Code("121106", "DCM", "Comment")
QUALITATIVE: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
"""Container of TID 1500 for everything but numbers."""
SOURCE_IMAGE: Final = Code("121322", "DCM", "Source image for image processing operation")
"""PS3.16 CID 7202."""
MOST_PROBABLE: Final = Code("most_probable", SCHEME, "Most probable class")
POSSIBLE: Final = Code("possible", SCHEME, "Class that remains possible")
INTERVAL: Final = Code("interval", SCHEME, "Interval of the probability of COVID-19")
NO_ANSWER: Final = Code("no_answer", SCHEME, "No answer")
AUDIT: Final = Code("audit", SCHEME, "Verdict of the shortcut audit of the model")
AUDIT_VERDICTS: Final = {
    Verdict.PASS: Code("audit_pass", SCHEME, "Passed"),
    Verdict.WARN: Code("audit_warn", SCHEME, "Passed with warnings"),
    Verdict.FAIL: Code("audit_fail", SCHEME, "Failed"),
    None: Code("audit_none", SCHEME, "Not audited"),
}
FLAG: Final = Code("flag", SCHEME, "To know before using the probabilities")
FLAGS: Final = {code: Code(code.value, SCHEME, code.value.replace("_", " ").capitalize()) for code in FlagCode}
"""Short meanings, since CodeMeaning holds at most 64 characters; the text of a flag is longer."""


def scheme() -> CodingSchemeIdentificationItem:
    """Return the item that identifies the private scheme (PS3.3 C.12.1.1.7)."""
    return CodingSchemeIdentificationItem(
        designator=SCHEME, name="covidcxr", version=__version__, responsible_organization="covidcxr"
    )
