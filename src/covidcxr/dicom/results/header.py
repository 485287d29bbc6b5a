"""Header of an image as its results need it: patient, study, grey scale; and the UIDs of results."""

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
GREY_SCALE = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "PixelRepresentation"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "RescaleType", "VOILUTSequence"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"),
)
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
    for keyword in (*IDENTITY, *OPTIONAL, *GREY_SCALE):
        if ds.get(keyword) is not None:
            header[keyword] = ds[keyword]
    for keyword in PATIENT_AND_STUDY:
        setattr(header, keyword, ds.get(keyword, "") if _is_valid(ds, keyword) else "")
    if "RescaleSlope" in header:
        header.RescaleType = header.get("RescaleType") or "US"  # type 1C with a slope (PS3.3 C.11.1); US: unspecified
    _copy_window(ds, header)
    return header


def _is_valid(ds: Dataset, keyword: str) -> bool:
    try:
        value = ds.get(keyword, "")
        if keyword.endswith("Date"):
            DA(value)
        elif keyword.endswith("Time"):
            TM(value)
        return keyword != "PatientSex" or value in SEXES
    except (ValueError, TypeError):
        return False


def _copy_window(ds: Dataset, header: Dataset) -> None:
    """Copy the first window, which ``images.dicom`` applies, if it is valid (PS3.3 C.11.2.1.2)."""
    try:
        centre, width = (float(_first(ds.get(keyword))) for keyword in ("WindowCenter", "WindowWidth"))
    except (TypeError, ValueError):
        return
    if width >= 1:
        header.WindowCenter, header.WindowWidth = centre, width
        if ds.get("VOILUTFunction"):
            header.VOILUTFunction = ds.VOILUTFunction


def _first(value: Any) -> Any:  # noqa: ANN401 - a value of any attribute
    return value[0] if isinstance(value, MultiValue) else value


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
