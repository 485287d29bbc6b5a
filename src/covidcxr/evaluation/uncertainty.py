"""Figures of prediction sets, and of a model that answers only when it is sure."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from covidcxr.evaluation.metrics import ROUNDING, Estimate, FloatArray, IntArray, Metric, estimate, share
from covidcxr.labels import Label
from covidcxr.prediction.conformal import Conformal

ANSWERED: Final = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of the images, the surest first, for which accuracy is reported."""


def measure_sets(
    conformal: Conformal,
    labels: Sequence[Label],
    y_true: IntArray,
    y_score: FloatArray,
    groups: NDArray[np.str_],
    *,
    seed: int,
) -> dict[str, Estimate]:
    """Measure the prediction sets of images.

    Args:
        conformal: Prediction sets of the model.
        labels: Classes of the model.
        y_true: int64, shape (n,), class indices.
        y_score: float64, shape (n, classes), probabilities.
        groups: str, shape (n,), see covidcxr.data.manifest.Record.
        seed: Seed of the bootstrap.

    Returns:
        Share of the images of each class whose set contains that class (``coverage_LABEL``, nan without such images),
        mean number of classes in a set (``mean_set_size``), and shares of the sets with one class, all and none.
    """
    classes = len(labels)
    measured: dict[str, Metric] = {f"coverage_{label}": _coverage(conformal, i) for i, label in enumerate(labels)}
    # as a share of all classes, because estimate treats a figure of 0 or 1 as a share
    measured["mean_set_size"] = lambda _, scores, weights: _mean(_sizes(conformal, scores) / classes, weights)
    measured |= {
        "sets_of_one_class": _share_of_size(conformal, 1),
        "sets_of_all_classes": _share_of_size(conformal, classes),
        "empty_sets": _share_of_size(conformal, 0),
    }
    estimates = estimate(measured, y_true, y_score, groups, seed=seed)
    size = estimates["mean_set_size"]
    return estimates | {"mean_set_size": Estimate(*(classes * end for end in (size.value, size.low, size.high)))}


def selective_accuracy(
    y_true: IntArray, y_score: FloatArray, groups: NDArray[np.str_], *, seed: int
) -> Mapping[float, Estimate]:
    """Return the accuracy on the surest images for each share in ANSWERED; see measure_sets for the arguments."""
    names = {str(part): part for part in ANSWERED}
    measured = {name: accuracy_of_surest(part) for name, part in names.items()}
    estimates = estimate(measured, y_true, y_score, groups, seed=seed)
    return {part: estimates[name] for name, part in names.items()}


def accuracy_of_surest(part: float) -> Metric:
    """Share of right answers among this part of the images, 0..1, those with the largest probabilities."""

    def metric(y_true: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
        order = surest_first(y_score)
        weights = weights[:, order]
        answered = weights.cumsum(axis=1) - weights < part * weights.sum(axis=1, keepdims=True) - ROUNDING
        return _mean((y_score.argmax(axis=1) == y_true)[order], weights * answered)

    return metric


def surest_first(y_score: FloatArray) -> IntArray:
    """Return the order of images by their largest probability: int64, shape (n,)."""
    return np.argsort(-y_score.max(axis=1), kind="stable")


def _possible(conformal: Conformal, y_score: FloatArray) -> NDArray[np.bool_]:
    """Conformal.prediction_set of many images at once: bool, shape (n, classes)."""
    return y_score >= np.array(conformal.thresholds)


def _sizes(conformal: Conformal, y_score: FloatArray) -> IntArray:
    sizes: IntArray = _possible(conformal, y_score).sum(axis=1)
    return sizes


def _coverage(conformal: Conformal, label: int) -> Metric:
    return lambda y_true, y_score, weights: share(_possible(conformal, y_score)[:, label], y_true == label, weights)


def _share_of_size(conformal: Conformal, size: int) -> Metric:
    return lambda _, y_score, weights: _mean(_sizes(conformal, y_score) == size, weights)


def _mean(values: NDArray[np.bool_] | FloatArray, weights: FloatArray) -> FloatArray:
    return share(values, np.ones(len(values), bool), weights)
