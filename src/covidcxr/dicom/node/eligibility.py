"""Which images are worth scoring, by their header alone; what the header does not say, the model's gate must see."""

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
"""What can hold a chest radiograph."""
MODALITIES = frozenset({"CR", "DX", "RG"})
"""PS3.3 C.7.3.1.1.1."""
CAPTURED_MODALITIES = MODALITIES | {"OT", ""}
"""What a Secondary Capture of a radiograph, a scanned film for example, may also say."""
CHEST_WORDS = ("CHEST", "THORAX", "LUNG")
"""Parts of BodyPartExamined (PS3.16 annex L), which is free of rules in practice: "PORT CHEST", "CHEST_PA"."""
FRONTAL = frozenset({"AP", "PA"})
"""PS3.3 C.8.11.5.1 ViewPosition."""


class Reason(StrEnum):
    """Why an image was left alone."""

    OWN_RESULT = "own result"
    MODALITY = "Modality is not radiography"
    BODY_PART = "BodyPartExamined is not the chest"
    VIEW = "ViewPosition is not frontal"
    FRAMES = "more than one frame"
    GATE = "the model sees no frontal chest radiograph"


def refusal(ds: Dataset) -> Reason | None:
    """Tell by the header why an image is not scored; None where nothing speaks against it.

    Args:
        ds: An instance of one of SOP_CLASSES, with or without pixels. Attributes that are missing or empty speak
            neither for nor against it.
    """
    captured = ds.SOPClassUID == SecondaryCaptureImageStorage
    if _word(ds, "Manufacturer") == MANUFACTURER.upper():
        return Reason.OWN_RESULT
    if _word(ds, "Modality") not in (CAPTURED_MODALITIES if captured else MODALITIES):
        return Reason.MODALITY
    part = _word(ds, "BodyPartExamined")
    if part and not any(word in part for word in CHEST_WORDS):
        return Reason.BODY_PART
    view = _word(ds, "ViewPosition")
    if view and view not in FRONTAL:
        return Reason.VIEW
    return Reason.FRAMES if int(ds.get("NumberOfFrames") or 1) > 1 else None


NO_CHEST = frozenset(
    {FlagCode.UNIFORM, FlagCode.TOO_SMALL, FlagCode.NOT_A_CHEST_XRAY, FlagCode.CT, FlagCode.LATERAL},
)
"""Flags of images about which there is nothing to report; with others the report says why there is no answer."""


def _word(ds: Dataset, keyword: str) -> str:
    return str(ds.get(keyword) or "").strip().upper()
