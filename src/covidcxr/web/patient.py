"""Patient data from a DICOM header, for users who request them."""

from io import BytesIO
from typing import TYPE_CHECKING

from covidcxr.images.decode import is_dicom

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ELEMENTS = ("PatientID", "PatientAge", "PatientSex", "StudyDate")
"""DICOM keywords (PS3.6). Nothing else is read from the header."""
LONGEST = 64
"""Characters of one element, the limit for the longest of them (LO, PS3.5 table 6.2-1)."""


def read_patient(data: bytes) -> dict[str, str] | None:
    """Return ELEMENTS of a DICOM file that could be decoded; None for other files.

    An element that is missing or cannot be read is empty.
    """
    if not is_dicom(data):
        return None
    from pydicom import dcmread  # here: most requests contain no DICOM

    ds = dcmread(BytesIO(data), force=True, stop_before_pixels=True, specific_tags=list(ELEMENTS))
    return {keyword: _text(ds, keyword) for keyword in ELEMENTS}


def _text(ds: "Dataset", keyword: str) -> str:
    try:
        value = ds.get(keyword)
        return "" if value is None else str(value)[:LONGEST]
    except Exception:  # whatever pydicom raises on values that break the standard
        return ""
