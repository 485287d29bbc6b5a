"""What a DICOM header says of the patient, for those who ask to see it."""

from io import BytesIO
from typing import Any

from covidcxr.images import is_dicom

ELEMENTS = ("PatientID", "PatientAge", "PatientSex", "StudyDate")
"""Keywords of PS3.6; nothing else of the header is read."""
LONGEST = 64
"""Characters of one element, as the longest of them may have (LO, PS3.5 table 6.2-1)."""


def read_patient(data: bytes) -> dict[str, str] | None:
    """Return ELEMENTS of a DICOM file that could be decoded, empty where the header lacks one; None for other files."""
    if not is_dicom(data):
        return None
    from pydicom import dcmread  # here: most requests hold no DICOM

    ds = dcmread(BytesIO(data), force=True, stop_before_pixels=True, specific_tags=list(ELEMENTS))
    return {keyword: _text(ds.get(keyword)) for keyword in ELEMENTS}


def _text(value: Any) -> str:  # noqa: ANN401 (pydicom gives what the file holds)
    return "" if value is None else str(value)[:LONGEST]
