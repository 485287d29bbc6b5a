"""Tests of the data: what they give away before any model looks at a lung, and what leaks between their parts."""

from typing import Any

import numpy as np

from covidcxr.audit.context import (
    LIMIT_TRAIN,
    Context,
    Limits,
    Result,
    balanced_accuracy,
    classes,
    finding,
    mean_of,
    measured,
    stratified,
)
from covidcxr.audit.pictures import bars
from covidcxr.evaluation.controls import source_oracle as oracle_scores
from covidcxr.evaluation.controls import thumbnail_classifier, thumbnails
from covidcxr.evaluation.metrics import Estimate, FloatArray, IntArray, Metric
from covidcxr.prediction.verdict import Finding

ORACLE = Limits(passes=0.8, fails=0.95)
THUMBNAIL = Limits(passes=0.5, fails=0.9)
LEAKAGE = Limits(passes=0.0, fails=0.01)


def source_oracle(context: Context) -> Result:
    """How well the collection's name alone tells the class."""
    subject = context.subject
    y_true, scores = classes(context.test, subject), oracle_scores(context.train, context.test, subject.labels)
    groups = np.array([record.group for record in context.test])
    found = measured(_accuracy(slice(None)), y_true, scores, groups)
    chance = 1 / len(np.unique(y_true))
    says = (
        f"Whoever knows only which collection a picture comes from names {found.value:.0%} of the classes right "
        f"(guessing: {chance:.0%}), so that much of the model's accuracy proves nothing about lungs."
    )
    return Result(
        test="source_oracle",
        title="Source oracle",
        figure="balanced accuracy of the collection's name",
        rule=ORACLE.text,
        finding=finding("source_oracle", ORACLE, found, says),
        n=len(context.test),
        picture=bars({"name of the collection": found}, ORACLE, chance=chance),
        details={"chance": chance},
    )


def thumbnail(context: Context) -> Result:
    """How much of the model's accuracy a logistic regression on 8x8 pixels reaches."""
    sample, subject = context.sample, context.subject
    train = stratified(context.train, LIMIT_TRAIN)
    known = classes(train, subject)
    classifier = thumbnail_classifier(thumbnails(train), known)
    small = np.zeros_like(context.outputs.scores)
    small[:, classifier.classes_] = classifier.predict_proba(thumbnails(sample.records))
    both, middle = np.hstack([context.outputs.scores, small]), len(subject.labels)
    model, control = _accuracy(slice(0, middle)), _accuracy(slice(middle, None))

    def share(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
        chance = 1 / len(np.unique(y_true))
        gained = model(y_true, y_score, weight) - chance
        return (control(y_true, y_score, weight) - chance) / gained if gained > 0 else float("nan")

    found, ours, theirs = (measured(metric, sample.y_true, both, sample.groups) for metric in (share, model, control))
    figure = "what a thumbnail has above guessing, as a share of what the model has"
    about: dict[str, Any] = {
        "test": "thumbnail",
        "title": "Thumbnail of 8x8 pixels",
        "figure": figure,
        "rule": THUMBNAIL.text,
    }
    if not np.isfinite(found.value):
        return Result(**about, reason="the model is no better than guessing")
    says = (
        f"A thumbnail of 8x8 pixels, on which nobody can see a lung, reaches {found.value:.0%} of what the model "
        f"has above guessing."
    )
    return Result(
        **about,
        finding=finding("thumbnail", THUMBNAIL, found, says),
        n=len(sample.records),
        picture=bars({"model": ours, "thumbnail": theirs}, chance=1 / len(np.unique(sample.y_true))),
        details={"model": ours.to_dict(), "thumbnail": theirs.to_dict(), "training_images": len(train)},
    )


def leakage(context: Context) -> Result:
    """Which share of the test images has its group, patient or file in training too."""
    names = ("group", "patient_id", "sha256")
    known = {name: {getattr(record, name) for record in context.train} for name in names}
    shared = {name: np.array([getattr(r, name) in known[name] for r in context.test]) for name in names}
    crossing = np.any(list(shared.values()), axis=0)
    found = mean_of(crossing, np.array([record.group for record in context.test]))
    says = f"{crossing.sum()} of {len(crossing)} test images show a patient or a picture that stands in training too."
    verdict = LEAKAGE.verdict(Estimate(found.value, found.value, found.value))
    return Result(
        test="leakage",
        title="Leakage between training and test",
        figure="share of test images whose patient, near-duplicate or file is in training",
        rule="Passes with none, fails from 1 % on, a warning between; all test images are counted, so the interval "
        "plays no part.",
        finding=Finding(test="leakage", verdict=verdict, value=found.value, low=found.low, high=found.high, says=says),
        n=len(crossing),
        picture=bars({name: float(values.mean()) for name, values in shared.items()}, LEAKAGE),
        details={name: int(values.sum()) for name, values in shared.items()},
    )


def _accuracy(columns: slice) -> Metric:
    """Return the balanced accuracy of some columns of scores."""
    return lambda y_true, y_score, weight: balanced_accuracy(y_true, y_score[:, columns].argmax(axis=1), weight)
