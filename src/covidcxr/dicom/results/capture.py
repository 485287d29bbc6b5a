"""Secondary Capture of the activation map in colour over its radiograph, with the disclaimer burnt in."""

import textwrap

import numpy as np
from highdicom import CoordinateSystemNames, PhotometricInterpretationValues
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from covidcxr import DISCLAIMER
from covidcxr.dicom.results.codes import SOURCE_IMAGE
from covidcxr.dicom.results.common import common
from covidcxr.dicom.results.header import source_header
from covidcxr.images.grey import Grey
from covidcxr.prediction.heatmap import overlay
from covidcxr.prediction.predictor import Prediction

LINE_CHARACTERS = 60
"""Approximate length of a line below the picture, whatever its width."""
MIN_FONT_PIXELS = 8
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def secondary_capture(ds: Dataset, prediction: Prediction, grey: Grey) -> Dataset:
    """Draw the activation map over the image, with the disclaimer burnt in below.

    Args:
        ds: Image that was scored; it is not changed.
        prediction: Prediction with an activation map.
        grey: Decoded image: uint8, shape (Rows, Columns).

    Returns:
        A Secondary Capture image in the study of ``ds``, RGB, uncompressed.

    Raises:
        ValueError: The prediction has no map.
        ImageError: The image lacks the UID of its study, its series or itself.
    """
    if prediction.activation_map is None:
        raise ValueError("Expected a prediction with an activation map. Received one without.")
    header = source_header(ds)
    picture = _with_caption(overlay(grey, prediction.activation_map), f"{DISCLAIMER} {prediction.model}")
    capture = SCImage.from_ref_dataset(
        header,
        pixel_array=np.asarray(picture),
        photometric_interpretation=PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=CoordinateSystemNames.PATIENT,
        patient_orientation=("L", "F"),  # required by highdicom; the image's own follows below
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **common(header, prediction, "capture", "covidcxr: activation map"),
    )
    capture.BodyPartExamined = "CHEST"  # no paired structure, so Laterality is not needed (PS3.3 C.7.3.1)
    capture.PatientOrientation = ds.get("PatientOrientation") or []
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.DerivationDescription = "Class activation map in colour over the radiograph"
    capture.SourceImageSequence = [_reference(header)]
    for keyword in ("BurnedInAnnotation", *_LOSSY):  # the radiograph is part of the picture
        if ds.get(keyword):
            capture[keyword] = ds[keyword]
    return capture


def _reference(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(SOURCE_IMAGE)]
    return item


def _with_caption(picture: Image.Image, text: str) -> Image.Image:
    """Add a black band with white text below the picture."""
    size = max(MIN_FONT_PIXELS, round(1.6 * picture.width / LINE_CHARACTERS))
    font = ImageFont.load_default(size)
    lines = textwrap.wrap(text, max(10, int(picture.width / font.getlength(text) * len(text) * 0.95)))
    whole = Image.new("RGB", (picture.width, picture.height + round(1.4 * size * len(lines)) + size // 2))
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    for number, line in enumerate(lines):
        draw.text((size // 2, picture.height + round(1.4 * size * number)), line, fill="white", font=font)
    return whole
