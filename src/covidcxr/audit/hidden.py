"""Tests of what a model knows beside the class: the collection, the age, the view, always within one class."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from covidcxr.audit.context import Context, Limits, Result, balanced_accuracy, column_auroc, finding, measured
from covidcxr.audit.pictures import bars
from covidcxr.data.manifest import GROWN_UP, Record, View
from covidcxr.data.sources import children_origins
from covidcxr.evaluation.metrics import Estimate, FloatArray, IntArray

SOURCE = Limits(passes=0.3, fails=0.7)
"""Of balanced accuracy from 0 at guessing to 1."""
TOLD = Limits(passes=0.65, fails=0.8)
"""Of an AUROC that should be 0.5."""
FEWEST = 10
"""Images of each kind below which a test says nothing."""
FOLDS = 5


def source_in_embedding(context: Context) -> Result:
    """How well a logistic regression on the model's features tells the collections of one class apart."""
    about: dict[str, Any] = {
        "test": "source_in_embedding",
        "title": "Source in the features",
        "figure": "balanced accuracy of the collection from the features, within a class, from 0 (guessing) to 1",
        "rule": SOURCE.text,
    }
    embedding, sample = context.wide_outputs.embedding, context.wide_sample
    if embedding is None:
        return Result(**about, reason="the model gives no features")
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
        return Result(**about, reason=f"no class with two collections of at least {FEWEST} test images")
    worst = max(found, key=lambda label: found[label].value)
    listed = ", ".join(numbers[worst]["collections"])
    says = (
        f"Of pictures that are all {worst}, the model's features tell from which collection they come ({listed}): "
        f"{found[worst].value:.0%} of the way from guessing to certainty."
    )
    return Result(
        **about,
        finding=finding("source_in_embedding", SOURCE, found[worst], says),
        n=numbers[worst]["images"],
        picture=bars(found, SOURCE),
        details={label: found[label].to_dict() | numbers[label] for label in found},
    )


def age_in_score(context: Context) -> Result:
    """How well the probability of COVID-19 tells children from adults of one class."""
    return _told(context, _is_child, test="age_in_score", title="Age in the score", kinds="children from adults")


def view_in_score(context: Context) -> Result:
    """How well the probability of COVID-19 tells AP from PA pictures of one class."""
    return _told(context, _is_ap, test="view_in_score", title="View in the score", kinds="AP from PA pictures")


def _told(context: Context, kind: Callable[[Record], bool | None], *, test: str, title: str, kinds: str) -> Result:
    """Measure how well the score tells two kinds of pictures apart, in the class where it does so best."""
    sample, scores = context.wide_sample, context.wide_outputs.scores
    figure = f"AUROC of the probability of COVID-19 telling {kinds}, within a class"
    about: dict[str, Any] = {"test": test, "title": title, "figure": figure, "rule": TOLD.text}
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
        return Result(**about, reason=f"no class with {FEWEST} test images of each kind")
    worst = max(found, key=lambda label: found[label].value)
    says = (
        f"Of pictures that are all {worst}, the probability of COVID-19 alone tells {kinds} with an AUROC of "
        f"{found[worst].value:.2f}, where a model that looks at the disease would have about 0.50."
    )
    return Result(
        **about,
        finding=finding(test, TOLD, found[worst], says),
        n=sum(numbers[worst]),
        picture=bars(found, TOLD, chance=0.5),
        details={label: found[label].to_dict() | {"images": numbers[label]} for label in found},
    )


def _folded(y_true: IntArray, scores: FloatArray, groups: NDArray[np.str_], covid: int) -> Estimate:
    """Return an AUROC of at least 0.5: which of the two kinds scores higher does not matter."""
    straight = column_auroc(covid, 1)(y_true, scores, np.ones(len(y_true)))
    return measured(column_auroc(covid, 1, sign=1 if straight >= 0.5 else -1), y_true, scores, groups)


def _decoded(features: FloatArray, y_true: IntArray, groups: NDArray[np.str_]) -> Estimate:
    """Return the balanced accuracy of cross-validated predictions, no group on both sides, from 0 at guessing to 1."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced"))
    called = cross_val_predict(regression, features, y_true, groups=groups, cv=folds)

    def above_chance(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
        chance = 1 / len(np.unique(y_true))
        return (balanced_accuracy(y_true, y_score[:, 0].astype(np.int64), weight) - chance) / (1 - chance)

    return measured(above_chance, y_true, called[:, np.newaxis].astype(np.float64), groups)


def _smallest(y_true: IntArray, groups: NDArray[np.str_]) -> int:
    """Return the number of groups of the collection with fewest."""
    return min(len(np.unique(groups[y_true == value])) for value in np.unique(y_true))


def _is_child(record: Record) -> bool | None:
    if record.origin in children_origins():
        return True
    return None if record.age is None else record.age < GROWN_UP


def _is_ap(record: Record) -> bool | None:
    return {View.PA: False, View.AP: True, View.AP_SUPINE: True}.get(record.view)
