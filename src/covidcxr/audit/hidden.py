"""Tests of what a model knows beside the class, within one class: the collection, the age, the view."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from covidcxr.audit.context import (
    AuditLimits,
    AuditResult,
    AuditTest,
    Context,
    balanced_accuracy,
    column_auroc,
    measured,
)
from covidcxr.audit.pictures import bars
from covidcxr.data.manifest import GROWN_UP, Record, View
from covidcxr.data.sources import children_origins
from covidcxr.evaluation.metrics import Estimate, FloatArray, IntArray, value_of

SOURCE = AuditTest(
    "source_in_embedding",
    "Source in the features",
    "balanced accuracy of the collection from the features, within a class, scaled from 0 (guessing) to 1 (certainty)",
    AuditLimits(passes=0.3, fails=0.7),
)
SEPARATED = AuditLimits(passes=0.65, fails=0.8)
"""Limits of an AUROC that should be 0.5."""
AGE = AuditTest(
    "age_in_score",
    "Age in the score",
    "AUROC of the probability of COVID-19 for children against adults, within a class",
    SEPARATED,
)
VIEW = AuditTest(
    "view_in_score",
    "View in the score",
    "AUROC of the probability of COVID-19 for AP against PA images, within a class",
    SEPARATED,
)
FEWEST = 10
"""Fewest images of each kind for a figure."""
FOLDS = 5


def source_in_embedding(context: Context) -> AuditResult:
    """Measure how well a logistic regression on the model's features separates the collections of one class."""
    embedding, sample = context.wide_outputs.embedding, context.wide_sample
    if embedding is None:
        return SOURCE.skipped("the model gives no features")
    sources = np.array([record.source for record in sample.records])
    found, numbers = {}, {}
    for index, label in enumerate(context.subject.labels):
        chosen = sample.y_true == index
        chosen &= np.isin(sources, [s for s in np.unique(sources) if (sources[chosen] == s).sum() >= FEWEST])
        names, y_true = np.unique(sources[chosen], return_inverse=True)
        if len(names) >= 2 and _smallest(y_true, sample.groups[chosen]) >= FOLDS:
            found[str(label)] = _decoded(embedding[chosen], y_true, sample.groups[chosen])
            numbers[str(label)] = {"images": int(chosen.sum()), "collections": names.tolist()}
    if not found:
        return SOURCE.skipped(f"no class has two collections of at least {FEWEST} test images")
    worst = max(found, key=lambda label: found[label].value)
    says = (
        f"Even among {worst} images alone, the features reveal the collection "
        f"({', '.join(numbers[worst]['collections'])}): {100 * found[worst].value:.0f} on a scale from 0, guessing, to "
        f"100, certainty."
    )
    return SOURCE.judged(
        found[worst],
        says,
        n=numbers[worst]["images"],
        picture=bars(found, SOURCE.limits),
        details={label: found[label].to_dict() | numbers[label] for label in found},
    )


def age_in_score(context: Context) -> AuditResult:
    """Measure how well the probability of COVID-19 separates children from adults of one class."""
    return _separated(context, _is_child, AGE, "children from adults")


def view_in_score(context: Context) -> AuditResult:
    """Measure how well the probability of COVID-19 separates AP from PA images of one class."""
    return _separated(context, _is_ap, VIEW, "AP from PA images")


def _separated(context: Context, kind: Callable[[Record], bool | None], test: AuditTest, kinds: str) -> AuditResult:
    """Measure how well the score separates two kinds of images, in the class where it does so best."""
    sample, scores = context.wide_sample, context.wide_outputs.scores
    is_kind = [kind(record) for record in sample.records]
    known = np.array([value is not None for value in is_kind])
    y_true = np.array([bool(value) for value in is_kind], np.int64)
    found, numbers = {}, {}
    for index, label in enumerate(context.subject.labels):
        chosen = known & (sample.y_true == index)
        if min(y_true[chosen].sum(), (1 - y_true[chosen]).sum()) >= FEWEST:
            found[str(label)] = _folded(y_true[chosen], scores[chosen], sample.groups[chosen], context.subject.covid)
            numbers[str(label)] = [int((1 - y_true[chosen]).sum()), int(y_true[chosen].sum())]
    if not found:
        return test.skipped(f"no class has {FEWEST} test images of each kind")
    worst = max(found, key=lambda label: found[label].value)
    says = (
        f"Even among {worst} images alone, the probability of COVID-19 separates {kinds} with an AUROC of "
        f"{found[worst].value:.2f}; a model that judges the disease would have about 0.50."
    )
    return test.judged(
        found[worst],
        says,
        n=sum(numbers[worst]),
        picture=bars(found, test.limits, chance=0.5),
        details={label: found[label].to_dict() | {"images": numbers[label]} for label in found},
    )


def _folded(y_true: IntArray, scores: FloatArray, groups: NDArray[np.str_], covid: int) -> Estimate:
    """Return an AUROC of at least 0.5: it does not matter which of the two kinds scores higher."""
    straight = value_of(column_auroc(covid, 1), y_true, scores)
    return measured(column_auroc(covid, 1, sign=1 if straight >= 0.5 else -1), y_true, scores, groups)


def _decoded(features: FloatArray, y_true: IntArray, groups: NDArray[np.str_]) -> Estimate:
    """Return the balanced accuracy of predictions cross-validated over groups, scaled from 0 (guessing) to 1."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced"))
    called = cross_val_predict(regression, features, y_true, groups=groups, cv=folds)

    def above_chance(y_true: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
        chance = 1 / len(np.unique(y_true))
        return (balanced_accuracy(y_true, y_score[:, 0].astype(np.int64), weights) - chance) / (1 - chance)

    return measured(above_chance, y_true, called[:, np.newaxis].astype(np.float64), groups)


def _smallest(y_true: IntArray, groups: NDArray[np.str_]) -> int:
    """Return the number of groups of the collection with the fewest."""
    return min(len(np.unique(groups[y_true == value])) for value in np.unique(y_true))


def _is_child(record: Record) -> bool | None:
    if record.origin in children_origins():
        return True
    return None if record.age is None else record.age < GROWN_UP


def _is_ap(record: Record) -> bool | None:
    return {View.PA: False, View.AP: True, View.AP_SUPINE: True}.get(record.view)
