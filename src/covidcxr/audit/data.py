"""Tests of the data: what they reveal without a lung, and what training and test share."""

import numpy as np

from covidcxr.audit.context import (
    LIMIT_TRAIN,
    AuditLimits,
    AuditResult,
    AuditTest,
    Context,
    balanced_accuracy,
    mean_of,
    measured,
    stratified,
)
from covidcxr.audit.pictures import bars
from covidcxr.evaluation.controls import source_oracle as oracle_scores
from covidcxr.evaluation.controls import thumbnail_classifier, thumbnails
from covidcxr.evaluation.metrics import Estimate, FloatArray, IntArray, Metric, divided
from covidcxr.evaluation.scoring import class_indices
from covidcxr.prediction.verdict import Finding

ORACLE = AuditTest(
    "source_oracle",
    "Source oracle",
    "balanced accuracy of the collection's name",
    AuditLimits(passes=0.8, fails=0.95),
)
THUMBNAIL = AuditTest(
    "thumbnail",
    "Thumbnail of 8x8 pixels",
    "advantage of a thumbnail over guessing, as a share of the model's advantage",
    AuditLimits(passes=0.5, fails=0.9),
)
LEAKAGE = AuditLimits(passes=0.0, fails=0.01)


def source_oracle(context: Context) -> AuditResult:
    """Measure how well the collection's name alone predicts the class."""
    labels = context.subject.labels
    y_true, scores = class_indices(context.test, labels), oracle_scores(context.train, context.test, labels)
    groups = np.array([record.group for record in context.test])
    found = measured(_accuracy(slice(None)), y_true, scores, groups)
    chance = 1 / len(np.unique(y_true))
    says = (
        f"Knowing only the collection gives the right class {100 * found.value:.0f} % of the time (guessing: "
        f"{100 * chance:.0f} %), so that much of the model's accuracy proves nothing about lungs."
    )
    picture = bars({"name of the collection": found}, ORACLE.limits, chance=chance)
    return ORACLE.judged(found, says, n=len(context.test), picture=picture, details={"chance": chance})


def thumbnail(context: Context) -> AuditResult:
    """Measure how much of the model's accuracy a logistic regression on 8x8 pixels achieves."""
    sample, subject = context.sample, context.subject
    train = stratified(context.train, LIMIT_TRAIN)
    classifier = thumbnail_classifier(thumbnails(train), class_indices(train, subject.labels))
    small = np.zeros_like(context.outputs.scores)
    small[:, classifier.classes_] = classifier.predict_proba(thumbnails(sample.records))
    both, middle = np.hstack([context.outputs.scores, small]), len(subject.labels)
    model, control = _accuracy(slice(0, middle)), _accuracy(slice(middle, None))

    def share(y_true: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
        chance = 1 / len(np.unique(y_true))
        gained, gained_by_control = (metric(y_true, y_score, weights) - chance for metric in (model, control))
        return divided(gained_by_control, gained)

    found, ours, theirs = (measured(metric, sample.y_true, both, sample.groups) for metric in (share, model, control))
    if not np.isfinite(found.value):
        return THUMBNAIL.skipped("the model is no better than guessing")
    says = (
        f"An 8x8 thumbnail, too small to show a lung, achieves {100 * found.value:.0f} % of the model's advantage over "
        f"guessing."
    )
    return THUMBNAIL.judged(
        found,
        says,
        n=len(sample.records),
        picture=bars({"model": ours, "thumbnail": theirs}, chance=1 / len(np.unique(sample.y_true))),
        details={"model": ours.to_dict(), "thumbnail": theirs.to_dict(), "training_images": len(train)},
    )


def leakage(context: Context) -> AuditResult:
    """Measure the share of the test images whose group, patient or file is also in training."""
    names = ("group", "patient_id", "sha256")
    known = {name: {getattr(record, name) for record in context.train} for name in names}
    shared = {name: np.array([getattr(r, name) in known[name] for r in context.test]) for name in names}
    crossing = np.any(list(shared.values()), axis=0)
    found = mean_of(crossing, np.array([record.group for record in context.test]))
    says = (
        f"{crossing.sum()} of {len(crossing)} test images show a patient or an image that is also in the training data."
    )
    verdict = LEAKAGE.verdict(Estimate(found.value, found.value, found.value))
    return AuditResult(
        test="leakage",
        title="Leakage between training and test",
        figure="share of test images whose patient, near-duplicate or file is in training",
        rule="Passes with none, fails from 1 % on, warns in between. All test images are counted, so the interval "
        "does not matter.",
        finding=Finding(test="leakage", verdict=verdict, value=found.value, low=found.low, high=found.high, says=says),
        n=len(crossing),
        picture=bars({name: float(values.mean()) for name, values in shared.items()}, LEAKAGE),
        details={name: int(values.sum()) for name, values in shared.items()},
    )


def _accuracy(columns: slice) -> Metric:
    """Return the balanced accuracy of some columns of scores."""
    return lambda y_true, y_score, weights: balanced_accuracy(y_true, y_score[:, columns].argmax(axis=1), weights)
