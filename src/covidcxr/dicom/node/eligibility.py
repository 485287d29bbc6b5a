"""Which images are scored, judged by their header; what the header does not say is left to the model's gate."""

from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from covidcxr.dicom.results.common import MANUFACTURER
from covidcxr.prediction.flags import FlagCode

SOP_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
"""Classes that can hold a chest radiograph."""
MODALITIES = frozenset({"CR", "DX", "RG"})
"""PS3.3 C.7.3.1.1.1."""
CAPTURED_MODALITIES = MODALITIES | {"OT", ""}
"""Modalities of a radiograph as a Secondary Capture, for example a scanned film."""
CHEST_WORDS = ("CHEST", "THORAX", "LUNG")
"""Parts of BodyPartExamined (PS3.16 annex L), which in practice is free text: "PORT CHEST", "CHEST_PA"."""
FRONTAL = frozenset({"AP", "PA"})
"""PS3.3 C.8.11.5.1 ViewPosition."""
NOT_A_CHEST = frozenset(
    {FlagCode.UNIFORM, FlagCode.TOO_SMALL, FlagCode.NOT_A_CHEST_XRAY, FlagCode.CT, FlagCode.LATERAL},
)
"""Flags of images that get no report. With any other flag, the report says why there is no answer."""


class SkipReason(StrEnum):
    """Why an image is not scored."""

    OWN_RESULT = "own result"
    SOP_CLASS = "SOP class is not radiography"
    MODALITY = "Modality is not radiography"
    BODY_PART = "BodyPartExamined is not the chest"
    VIEW = "ViewPosition is not frontal"
    FRAMES = "more than one frame"
    GATE = "not a frontal chest radiograph by its pixels"


def skip_reason(ds: Dataset) -> SkipReason | None:
    """Return why an image is not scored, judged by its header; None if nothing speaks against it.

    Args:
        ds: DICOM instance, with or without pixels. Missing and empty attributes speak neither for nor against it.
    """
    if ds.SOPClassUID not in SOP_CLASSES:
        return SkipReason.SOP_CLASS
    captured = ds.SOPClassUID == SecondaryCaptureImageStorage
    if _word(ds, "Manufacturer") == MANUFACTURER.upper():
        return SkipReason.OWN_RESULT
    if _word(ds, "Modality") not in (CAPTURED_MODALITIES if captured else MODALITIES):
        return SkipReason.MODALITY
    part = _word(ds, "BodyPartExamined")
    if part and not any(word in part for word in CHEST_WORDS):
        return SkipReason.BODY_PART
    view = _word(ds, "ViewPosition")
    if view and view not in FRONTAL:
        return SkipReason.VIEW
    return SkipReason.FRAMES if int(ds.get("NumberOfFrames") or 1) > 1 else None


def _word(ds: Dataset, keyword: str) -> str:
    return str(ds.get(keyword) or "").strip().upper()
