"""Metrics of a classifier, each with a 95 % interval by bootstrap over patients.

Metrics take sample weights, so that a bootstrap sample is a vector of weights (how often each patient was drawn) and
nothing is copied.
"""

from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from covidcxr._estimates import Estimate as Estimate
from covidcxr._estimates import predictive_values

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Metric = Callable[[IntArray, FloatArray, FloatArray], float]
"""``metric(y_true, y_score, weight)``: int64 (n,), float64 (n, classes), float64 (n,); nan where it is not defined."""

RESAMPLES = 2000
LEVEL = 0.95
CALIBRATION_BINS = 10
ROUNDING = 1e-9


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
    ones = np.ones(len(y_true))
    return {
        name: _interval(
            metric(y_true, y_score, ones),
            np.array([metric(y_true, y_score, count[index].astype(float)) for count in counts]),
            len(patients),
        )
        for name, metric in metrics.items()
    }


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

    def mean(_: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
        return float(np.average(y_score[:, 0], weights=weight))

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


def accuracy(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
    """Share of the images whose most probable class is the true one."""
    return _share(y_score.argmax(axis=1) == y_true, np.ones(len(y_true), bool), weight)


def sensitivity(positive: int) -> Metric:
    """Share of the images of class ``positive`` that are recognised as such (recall)."""
    return lambda y_true, y_score, weight: _share(y_score.argmax(axis=1) == positive, y_true == positive, weight)


def specificity(positive: int) -> Metric:
    """Share of the images of other classes that are not taken for ``positive``."""
    return lambda y_true, y_score, weight: _share(y_score.argmax(axis=1) != positive, y_true != positive, weight)


def ppv(positive: int) -> Metric:
    """Share of true ones among the images taken for ``positive`` (precision), at the prevalence of the data."""
    return lambda y_true, y_score, weight: _share(y_true == positive, y_score.argmax(axis=1) == positive, weight)


def f1(positive: int) -> Metric:
    """Harmonic mean of PPV and sensitivity of one class; 0 without any true or predicted case."""

    def metric(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
        truth, called = y_true == positive, y_score.argmax(axis=1) == positive
        total = weight[truth].sum() + weight[called].sum()
        return float(2 * weight[truth & called].sum() / total) if total else 0.0

    return metric


def macro_f1(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
    """Mean of f1 over all classes."""
    return float(np.mean([f1(label)(y_true, y_score, weight) for label in range(y_score.shape[1])]))


def _share(hit: NDArray[np.bool_], among: NDArray[np.bool_], weight: FloatArray) -> float:
    """Weighted share of ``hit`` among the chosen; nan where none is chosen."""
    total = weight[among].sum()
    return float(weight[hit & among].sum() / total) if total else float("nan")


def auroc(positive: int) -> Metric:
    """Area under the ROC curve of class ``positive`` against all others."""

    def metric(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
        truth = y_true == positive
        if not (weight[truth].any() and weight[~truth].any()):
            return float("nan")
        return float(roc_auc_score(truth, y_score[:, positive], sample_weight=weight))

    return metric


def sensitivity_at(positive: int, specificity: float) -> Metric:
    """Largest sensitivity of a threshold on the score of class ``positive`` with at least this specificity (0..1)."""

    def metric(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
        truth = y_true == positive
        if not (weight[truth].any() and weight[~truth].any()):
            return float("nan")
        false_positive, true_positive, _ = roc_curve(
            truth, y_score[:, positive], sample_weight=weight, drop_intermediate=False
        )
        return float(true_positive[false_positive <= 1 - specificity + ROUNDING].max())

    return metric


def average_precision(positive: int) -> Metric:
    """Area under the precision-recall curve of class ``positive`` against all others."""

    def metric(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
        truth = y_true == positive
        if not weight[truth].any():
            return float("nan")
        return float(average_precision_score(truth, y_score[:, positive], sample_weight=weight))

    return metric


def calibration_error(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
    """Expected calibration error of the most probable class, in ten bins of equal width (Guo et al. 2017)."""
    confidence = y_score.max(axis=1)
    correct = y_score.argmax(axis=1) == y_true
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weight * (correct - confidence), minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / weight.sum())
