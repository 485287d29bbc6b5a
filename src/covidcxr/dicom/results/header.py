"""Header of an image as its results need it: patient and study; and the UIDs of results."""

import uuid
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, TM

from covidcxr import __version__
from covidcxr.errors import ImageError

PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
)
"""Attributes of type 2: present in every result, empty if the image lacks them."""
OPTIONAL = ("IssuerOfPatientID", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight")
IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
SEXES = ("M", "F", "O", "")


def source_header(ds: Dataset) -> Dataset:
    """Copy the attributes that results need; values that violate the standard become empty.

    Args:
        ds: Image; it is not changed.

    Returns:
        New data set without pixels.

    Raises:
        ImageError: The image lacks the UID of its study, its series or itself.
    """
    if missing := [keyword for keyword in IDENTITY if not ds.get(keyword)]:
        raise ImageError(f"a DICOM object without {', '.join(missing)}")
    header = Dataset()
    header.SpecificCharacterSet = ds.get("SpecificCharacterSet") or "ISO_IR 6"
    for keyword in IDENTITY:
        header[keyword] = ds[keyword]
    for keyword in OPTIONAL:
        if value := _value(ds, keyword):
            setattr(header, keyword, value)
    for keyword in PATIENT_AND_STUDY:
        setattr(header, keyword, _value(ds, keyword))
    return header


def _value(ds: Dataset, keyword: str) -> Any:  # noqa: ANN401 - a value of any attribute
    """Return the first value of an attribute; an empty text if it has no valid one."""
    try:
        value = first_value(ds.get(keyword, ""))
        if keyword.endswith("Date"):
            DA(value)
        elif keyword.endswith("Time"):
            TM(value)
        return "" if value is None or (keyword == "PatientSex" and value not in SEXES) else value
    except Exception:  # pydicom raises anything for values that violate the standard
        return ""


def first_value(value: Any) -> Any:  # noqa: ANN401 - a value of any attribute
    """Return the first of several values, or the only one; None for none."""
    return (value[0] if value else None) if isinstance(value, MultiValue) else value


_NAMESPACE: Final = uuid.UUID("6f0c39a4-2b0e-4a6e-9d5d-0a4c0f6b7f52")
"""Random, drawn once for covidcxr (RFC 9562 section 5.5). A change would change the UID of every result."""


def result_uid(source: str, model: str, kind: str) -> str:
    """Return the UID of one result of one image and model (UUID-derived, PS3.5 B.2).

    Args:
        source: SOPInstanceUID of the image.
        model: Name and hash of the model file.
        kind: Kind of result, such as ``report`` or ``report series``.
    """
    return _uid("result", source, model, __version__, kind)


def model_uid(model: str) -> str:
    """Return the UID of a model as an observing device (PS3.16 TID 1004)."""
    return _uid("model", model, __version__)


def _uid(*parts: str) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}"
