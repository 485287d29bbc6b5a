"""Prediction as a structured report, and all results of an image together."""

import logging
from collections.abc import Callable
from functools import partial

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    ComprehensiveSR,
    ContainerContentItem,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from covidcxr import DISCLAIMER, __version__
from covidcxr.dicom.results.capture import secondary_capture
from covidcxr.dicom.results.codes import (
    AUDIT,
    AUDIT_VERDICTS,
    CERTAINTY,
    CHEST,
    CHEST_RADIOGRAPHY,
    COMMENT,
    FINDINGS,
    FLAG,
    FLAGS,
    INTERVAL,
    MOST_PROBABLE,
    NO_ANSWER,
    PERCENT,
    POSSIBLE,
    QUALITATIVE,
    scheme,
)
from covidcxr.dicom.results.common import MANUFACTURER, common
from covidcxr.dicom.results.header import model_uid, result_uid, source_header
from covidcxr.dicom.results.presentation import presentation_state
from covidcxr.images.grey import Grey
from covidcxr.prediction.predictor import Prediction

logger = logging.getLogger(__name__)


def results(ds: Dataset, prediction: Prediction, grey: Grey) -> list[Dataset]:
    """Make all results of one image.

    Args:
        ds: Image that was scored, as received; it is not changed.
        prediction: Prediction for the image.
        grey: Decoded image: uint8, shape (Rows, Columns).

    Returns:
        The report; if there is an activation map, also its picture and, for a grey image, the presentation state. The
        log names a picture or state that could not be made.

    Raises:
        ImageError: The image lacks the UID of its study, its series or itself.
    """
    made = [structured_report(ds, prediction)]
    makers: dict[str, Callable[[], Dataset]] = {}
    if prediction.activation_map:
        makers["picture"] = partial(secondary_capture, ds, prediction, grey)
        if str(ds.PhotometricInterpretation).startswith("MONOCHROME"):
            makers["presentation state"] = partial(presentation_state, ds, prediction)
    for name, make in makers.items():
        try:
            made.append(make())
        except Exception as error:  # highdicom raises anything, and its messages may quote the header
            logger.warning("not made: %s of %s: %s", name, ds.SOPInstanceUID, type(error).__name__)
    return made


def structured_report(ds: Dataset, prediction: Prediction) -> Dataset:
    """Write a prediction as a Comprehensive SR by TID 1500 "Measurement Report" (PS3.16).

    A measurement group for each class holds its probability in percent. The container of qualitative evaluations holds
    the most probable class or the reason why there is no answer, the prediction set, the interval of the probability of
    COVID-19, the flags, the verdict of the audit and the disclaimer.

    Args:
        ds: Image that was scored, with or without pixels; it is not changed.
        prediction: Prediction for the image.

    Returns:
        Report in the study of the image, in a series of its own, complete and unverified.

    Raises:
        ImageError: The image lacks the UID of its study, its series or itself.
    """
    header = source_header(ds)
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(prediction.model)),
        procedure_reported=CHEST_RADIOGRAPHY,
        imaging_measurements=_measurements(header, prediction),
        title=codes.DCM.ImagingMeasurementReport,
    )
    content[0].ContentSequence.append(_evaluations(prediction))
    return ComprehensiveSR(
        evidence=[header],
        content=content[0],
        is_complete=True,
        coding_schemes=[scheme()],
        **common(header, prediction, "report", "covidcxr: probabilities"),
    )


def _observer(model: str) -> ObserverContext:
    name, _, version = model.partition("@")
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=model_uid(model),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=name,
            serial_number=version or None,
        ),
    )


def _measurements(header: Dataset, prediction: Prediction) -> list[MeasurementsAndQualitativeEvaluations]:
    """Return one measurement group (TID 1501) for each class."""
    name, _, version = prediction.model.partition("@")
    algorithm = AlgorithmIdentification(name=name, version=f"{version} (covidcxr {__version__})")
    image = SourceImageForMeasurementGroup(str(header.SOPClassUID), str(header.SOPInstanceUID))
    return [
        MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(
                uid=result_uid(str(header.SOPInstanceUID), prediction.model, f"finding {label}"), identifier=str(label)
            ),
            finding_type=FINDINGS[label],
            finding_sites=[FindingSite(CHEST)],
            algorithm_id=algorithm,
            source_images=[image],
            measurements=[Measurement(name=CERTAINTY, value=round(100 * probability, 2), unit=PERCENT)],
        )
        for label, probability in prediction.probabilities.items()
    ]


def _evaluations(prediction: Prediction) -> ContainerContentItem:
    """Return everything but numbers; highdicom's own class for it accepts no text."""
    container = ContainerContentItem(QUALITATIVE, relationship_type=RelationshipTypeValues.CONTAINS)
    contains = RelationshipTypeValues.CONTAINS
    items: list[Dataset] = []
    if prediction.label is None:
        items.append(TextContentItem(NO_ANSWER, prediction.reason or "", contains))
    else:
        items.append(CodeContentItem(MOST_PROBABLE, FINDINGS[prediction.label], contains))
    for label in prediction.prediction_set or ():
        items.append(CodeContentItem(POSSIBLE, FINDINGS[label], contains))
    if prediction.interval:
        low, high = (100 * end for end in prediction.interval)
        items.append(TextContentItem(INTERVAL, f"{low:.1f} % to {high:.1f} %", contains))
    for flag in prediction.flags:
        items += [CodeContentItem(FLAG, FLAGS[flag.code], contains), TextContentItem(FLAG, flag.text, contains)]
    verdict = prediction.audit.verdict if prediction.audit else None
    items.append(CodeContentItem(AUDIT, AUDIT_VERDICTS[verdict], contains))
    for sentence in prediction.audit.to_dict()["says"] if prediction.audit else ():
        items.append(TextContentItem(AUDIT, sentence, contains))
    items.append(TextContentItem(COMMENT, DISCLAIMER, contains))
    container.ContentSequence = Sequence(items)
    return container
