"""Metrics of a classifier, each with a 95 % interval by bootstrap over patients.

A bootstrap sample is a row of weights: how often each image was drawn. Metrics take many rows at once, because 2000
calls for single rows would take a hundred times as long.
"""

from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from covidcxr._estimates import Estimate as Estimate
from covidcxr._estimates import predictive_values

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Metric = Callable[[IntArray, FloatArray, FloatArray], FloatArray]
"""``metric(y_true, y_score, weights)``: int64 (n,), float64 (n, classes) and float64 (k, n) give float64 (k,), one
figure for each row of weights; nan where it is not defined."""

RESAMPLES = 2000
LEVEL = 0.95
CALIBRATION_BINS = 10
ROUNDING = 1e-9
_AT_ONCE = 1_000_000
"""Weights given to a metric in one call, 8 MB: larger arrays are slower and take more memory."""


def estimate(
    metrics: Mapping[str, Metric],
    y_true: IntArray,
    y_score: FloatArray,
    groups: NDArray[np.str_],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """Compute metrics with percentile intervals from a bootstrap over patients (Field and Welsh 2007).

    Where every resample gives the same 0 or 1, the bootstrap shows no uncertainty. The interval is then the exact
    binomial one for as many trials as there are patients (Clopper and Pearson 1934).

    Args:
        metrics: Functions by name; see Metric.
        y_true: int64, shape (n,), class indices.
        y_score: float64, shape (n, classes), probabilities.
        groups: str, shape (n,), patient of each image.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap samples.

    Returns:
        An estimate for each metric, in the same order.
    """
    patients, index = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(patients), np.full(len(patients), 1 / len(patients)), size=resamples)
    rows = max(1, _AT_ONCE // len(y_true))
    parts = [counts[start : start + rows, index].astype(float) for start in range(0, resamples, rows)]
    return {
        name: _interval(
            value_of(metric, y_true, y_score),
            np.concatenate([metric(y_true, y_score, part) for part in parts]),
            len(patients),
        )
        for name, metric in metrics.items()
    }


def value_of(metric: Metric, y_true: IntArray, y_score: FloatArray) -> float:
    """Return a metric with equal weight for every image."""
    return float(metric(y_true, y_score, np.ones((1, len(y_true))))[0])


def mean_of(values: NDArray[Any], groups: NDArray[np.str_], *, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """Return the mean of one value per image, shape (n,), with its interval; see estimate.

    Example:
        A hundred images of only two patients say next to nothing, a hundred of a hundred patients much more:

        >>> right = np.repeat([1, 0], 50)
        >>> print(mean_of(right, np.repeat(["a", "b"], 50), seed=0))
        0.500 (0.000 to 1.000)
        >>> print(mean_of(right, np.arange(100).astype(str), seed=0))
        0.500 (0.400 to 0.600)
    """
    column = np.asarray(values, np.float64)[:, np.newaxis]

    def mean(_: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
        return share(y_score[:, 0], np.ones(len(y_score), bool), weights)

    found = estimate({"mean": mean}, np.zeros(len(column), np.int64), column, groups, seed=seed, resamples=resamples)
    return found["mean"]


def ppv_at(prevalence: float, sensitivity: Estimate, specificity: Estimate) -> Estimate:
    """Return the positive predictive value at another prevalence than that of the data at hand.

    Args:
        prevalence: Share of the people who have the disease, 0..1.
        sensitivity: Estimate, 0..1.
        specificity: Estimate, 0..1.

    Returns:
        Estimate; nan where nobody would be called positive. Its interval takes both lower and both upper ends at once,
        which is wider than a joint interval.

    Example:
        Where one in a hundred is ill, most of those whom a good test calls ill are healthy:

        >>> print(ppv_at(0.01, Estimate(0.95, 0.90, 0.98), Estimate(0.90, 0.85, 0.93)))
        0.088 (0.057 to 0.124)
    """
    ends = zip(astuple(sensitivity), astuple(specificity), strict=True)
    return Estimate(*(predictive_values(prevalence, *end)[0] for end in ends))


def _interval(value: float, samples: FloatArray, patients: int) -> Estimate:
    samples = samples[np.isfinite(samples)]
    if not np.isfinite(value) or not len(samples):
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if high - low < ROUNDING and abs(value - round(value)) < ROUNDING:
        exact = binomtest(round(value * patients), patients).proportion_ci(LEVEL)
        low, high = exact.low, exact.high
    return Estimate(float(value), float(low), float(high))


def accuracy(y_true: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
    """Share of the images whose most probable class is the true one."""
    return share(y_score.argmax(axis=1) == y_true, np.ones(len(y_true), bool), weights)


def sensitivity(positive: int) -> Metric:
    """Share of the images of class ``positive`` that are recognised as such (recall)."""
    return lambda y_true, y_score, weights: share(y_score.argmax(axis=1) == positive, y_true == positive, weights)


def specificity(positive: int) -> Metric:
    """Share of the images of other classes that are not taken for ``positive``."""
    return lambda y_true, y_score, weights: share(y_score.argmax(axis=1) != positive, y_true != positive, weights)


def ppv(positive: int) -> Metric:
    """Share of true ones among the images taken for ``positive`` (precision), at the prevalence of the data."""
    return lambda y_true, y_score, weights: share(y_true == positive, y_score.argmax(axis=1) == positive, weights)


def f1(positive: int) -> Metric:
    """Harmonic mean of PPV and sensitivity of one class; 0 without any true or predicted case."""

    def metric(y_true: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
        truth, called = y_true == positive, y_score.argmax(axis=1) == positive
        both, total = weights @ (truth & called), weights @ truth + weights @ called
        score: FloatArray = np.divide(2 * both, total, out=np.zeros(len(weights)), where=total > 0)
        return score

    return metric


def macro_f1(y_true: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean of f1 over all classes."""
    of_classes = [f1(label)(y_true, y_score, weights) for label in range(y_score.shape[1])]
    mean: FloatArray = np.mean(of_classes, axis=0)
    return mean


def share(values: NDArray[Any], among: NDArray[np.bool_], weights: FloatArray) -> FloatArray:
    """Return weighted means of values, shape (n,), over the chosen images: float64, shape (k,); nan where none is."""
    return divided(weights @ (values * among).astype(float), weights @ among)


def auroc(positive: int) -> Metric:
    """Area under the ROC curve of class ``positive`` against all others."""
    return lambda y_true, y_score, weights: area(y_true == positive, y_score[:, positive], weights)


def area(truth: NDArray[np.bool_], score: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the area under the ROC curve, in which a tie counts half (Hanley and McNeil 1982).

    Args:
        truth: bool, shape (n,).
        score: float64, shape (n,), higher where more probably true.
        weights: float64, shape (k, n).

    Returns:
        float64, shape (k,); nan where a class has no weight.
    """
    positive, negative = _above(truth, score, weights)
    at = np.diff(negative, axis=1, prepend=0)
    below = negative[:, -1:] - negative + at / 2
    found = np.diff(positive, axis=1, prepend=0) * below
    return divided(found.sum(axis=1), positive[:, -1] * negative[:, -1])


def sensitivity_at(positive: int, specificity: float) -> Metric:
    """Largest sensitivity of a threshold on the score of class ``positive`` with at least this specificity (0..1)."""

    def metric(y_true: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
        found, called = _above(y_true == positive, y_score[:, positive], weights)
        allowed = called <= (1 - specificity + ROUNDING) * called[:, -1:]
        best = np.where(allowed, found, 0).max(axis=1)
        return np.where(called[:, -1] > 0, divided(best, found[:, -1]), np.nan)

    return metric


def average_precision(positive: int) -> Metric:
    """Area under the precision-recall curve of class ``positive`` against all others, without interpolation."""

    def metric(y_true: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
        found, called = _above(y_true == positive, y_score[:, positive], weights)
        precision = np.divide(found, found + called, out=np.zeros_like(found), where=found + called > 0)
        return divided((np.diff(found, axis=1, prepend=0) * precision).sum(axis=1), found[:, -1])

    return metric


def calibration_error(y_true: IntArray, y_score: FloatArray, weights: FloatArray) -> FloatArray:
    """Expected calibration error of the most probable class, in ten bins of equal width (Guo et al. 2017)."""
    confidence = y_score.max(axis=1)
    correct = y_score.argmax(axis=1) == y_true
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = weights @ (np.eye(CALIBRATION_BINS)[bins] * (correct - confidence)[:, np.newaxis])
    return divided(np.abs(gaps).sum(axis=1), weights.sum(axis=1))


def _above(truth: NDArray[np.bool_], score: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the weight of the true and of the other images at or above each distinct score, the highest first.

    Returns:
        Two arrays, float64, shape (k, distinct scores).
    """
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    ordered, hit = weights[:, order], truth[order]
    positive, negative = (np.cumsum(ordered * of, axis=1)[:, last] for of in (hit, ~hit))
    return positive, negative


def divided(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Divide, nan where the whole is not above 0: float64, shape (k,)."""
    quotient: FloatArray = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return quotient
