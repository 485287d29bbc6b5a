"""Presentation state with the outline of the activation map, drawn by viewers over the unchanged radiograph."""

from typing import Any

import numpy as np
from contourpy import contour_generator
from highdicom import VOILUT, PresentationLUTShapeValues, PresentationLUTTransformation
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    TextJustificationValues,
    TextObject,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covidcxr import DISCLAIMER
from covidcxr.dicom.results.common import common
from covidcxr.dicom.results.header import first_value, source_header
from covidcxr.images.dicom import lut_data
from covidcxr.prediction.predictor import ActivationMap, Prediction

LEVELS = (0.4, 0.7)
"""Outlined levels, as shares of the map's maximum."""
GEOMETRY = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "PixelRepresentation"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"),
)
"""Attributes of the image that highdicom reads."""
TEXT_BOX = (0.0, 0.95, 1.0, 1.0)
"""Left, top, right, bottom of the disclaimer as shares of the displayed area."""


def presentation_state(ds: Dataset, prediction: Prediction) -> Dataset:
    """Outline the evidence of the model, with the disclaimer.

    Args:
        ds: Image that was scored, MONOCHROME1 or MONOCHROME2; it is not changed.
        prediction: Prediction with an activation map.

    Returns:
        A Grayscale Softcopy Presentation State in the study of ``ds``.

    Raises:
        ValueError: The prediction has no map, or the image a modality LUT, which is not transferred.
        ImageError: The image lacks the UID of its study, its series or itself.
    """
    if prediction.activation_map is None:
        raise ValueError("Expected a prediction with an activation map. Received one without.")
    if ds.get("ModalityLUTSequence"):
        raise ValueError("Expected an image without ModalityLUTSequence. Received one with it.")
    header = _with_grey_scale(ds, source_header(ds))
    layer = GraphicLayer(layer_name="COVIDCXR", order=1, description="Evidence of the model")
    annotation = GraphicAnnotation(
        referenced_images=[header],
        graphic_layer=layer,
        graphic_objects=[
            GraphicObject(GraphicTypeValues.POLYLINE, line, AnnotationUnitsValues.PIXEL)
            for line in outlines(prediction.activation_map, int(header.Columns), int(header.Rows))
        ],
        text_objects=[_disclaimer(prediction.model)],
    )
    shape = "INVERSE" if header.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"  # PS3.3 C.11.6
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=[header],
        content_label="COVIDCXR",
        content_description="Outline of the class activation map",
        graphic_annotations=[annotation],
        graphic_layers=[layer],
        presentation_lut_transformation=PresentationLUTTransformation(PresentationLUTShapeValues(shape)),
        **common(header, prediction, "presentation", "covidcxr: outline of the activation map"),
    )
    state.BodyPartExamined = "CHEST"  # no paired structure, so Laterality is not needed (PS3.3 C.7.3.1)
    return state


def outlines(activation_map: ActivationMap, columns: int, rows: int) -> list[NDArray[np.float64]]:
    """Return closed lines around the regions where the map exceeds each of LEVELS.

    Args:
        activation_map: Map of a prediction.
        columns: Width of the image in pixels.
        rows: Height of the image in pixels.

    Returns:
        Lines, float64, shape (points, 2): column and row in pixels from the top left corner (PS3.3 C.10.5).
    """
    left, top, right, bottom = activation_map.box
    height, width = activation_map.values.shape
    around: Any = np.pad(activation_map.values.astype(np.float64), 1)  # zeros at the edge close every line
    x = _places(left, right, width) * columns
    y = _places(top, bottom, height) * rows
    found = contour_generator(x, y, around)
    return [np.asarray(line, np.float64) for level in LEVELS for line in found.lines(level)]


def _with_grey_scale(ds: Dataset, header: Dataset) -> Dataset:
    """Add what highdicom copies into a presentation state: the transformations that ``images.dicom`` applies."""
    for keyword in GEOMETRY:
        if ds.get(keyword) is not None:
            header[keyword] = ds[keyword]
    if "RescaleSlope" in ds or "RescaleIntercept" in ds:
        header.RescaleSlope, header.RescaleIntercept = ds.get("RescaleSlope") or 1, ds.get("RescaleIntercept") or 0
        header.RescaleType = ds.get("RescaleType") or "US"  # type 1C with a slope (PS3.3 C.11.1); US: unspecified
    if ds.get("VOILUTSequence"):
        item = ds.VOILUTSequence[0]
        table = lut_data(item, ds)
        shown = np.rint((table - table.min()) / max(float(np.ptp(table)), 1) * (2**16 - 1)).astype(np.uint16)
        header.VOILUTSequence = [VOILUT(first_mapped_value=int(item.LUTDescriptor[1]), lut_data=shown)]
        return header
    try:
        centre, width = (float(first_value(ds.get(keyword))) for keyword in ("WindowCenter", "WindowWidth"))
    except (TypeError, ValueError):  # missing or unusable
        return header
    if width >= 1:  # PS3.3 C.11.2.1.2
        header.WindowCenter, header.WindowWidth = centre, width
        if ds.get("VOILUTFunction"):
            header.VOILUTFunction = ds.VOILUTFunction
    return header


def _places(low: float, high: float, cells: int) -> NDArray[np.float64]:
    """Positions of the centres of the cells and of both edges, as shares of the image."""
    centres = low + (np.arange(cells) + 0.5) / cells * (high - low)
    return np.array([low, *centres, high])


def _disclaimer(model: str) -> TextObject:
    return TextObject(
        f"{DISCLAIMER} {model}",
        AnnotationUnitsValues.DISPLAY,
        bounding_box=TEXT_BOX,
        text_justification=TextJustificationValues.LEFT,
    )
