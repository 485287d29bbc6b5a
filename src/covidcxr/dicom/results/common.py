"""Attributes that all results share."""

from typing import Any

from pydicom.dataset import Dataset

from covidcxr import __version__
from covidcxr.dicom.results.header import result_uid
from covidcxr.prediction.predictor import Prediction

MANUFACTURER = "covidcxr"
"""Manufacturer of every result, by which the node recognises its own results."""
SERIES_NUMBERS = {"report": 9001, "capture": 9002, "presentation": 9003}


def common(header: Dataset, prediction: Prediction, kind: str, description: str) -> dict[str, Any]:
    """Return the highdicom arguments that all results share.

    Args:
        header: Header made by ``source_header``.
        prediction: Prediction for the image.
        kind: Key of SERIES_NUMBERS.
        description: SeriesDescription.
    """
    name, _, version = prediction.model.partition("@")
    source = str(header.SOPInstanceUID)
    return {
        "series_instance_uid": result_uid(source, prediction.model, f"{kind} series"),
        "series_number": SERIES_NUMBERS[kind],
        "series_description": description,
        "sop_instance_uid": result_uid(source, prediction.model, kind),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": name,
        "device_serial_number": version or "none",
        "software_versions": __version__,
        "specific_character_set": "ISO_IR 192",
    }
