"""Calibration on validation data: temperature, operating points, prediction sets and probability intervals."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from crepes import ConformalClassifier  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from venn_abers import VennAbers  # type: ignore[import-untyped]

from covidcxr.evaluation.metrics import FloatArray, IntArray, estimate, sensitivity, specificity
from covidcxr.evaluation.scoring import read_scores
from covidcxr.labels import Label, PointName
from covidcxr.prediction.artifact import OperatingPoint
from covidcxr.prediction.conformal import Conformal

SEED = 0
SCREENING_SENSITIVITY = 0.95
TEMPERATURES = (0.2, 10.0)
"""Limits of the fit: without errors on the validation images the best temperature would be 0, and a small temperature T
magnifies float32 rounding by 1 / T."""
SMALLEST = float(np.finfo(np.float32).tiny)
"""Replacement for a probability of 0, which is how float32 represents anything smaller."""
MARGIN = 1e-5
"""Distance of a threshold below the score that set it: the allowed difference between Keras and an exported file."""
COVERAGE = 0.8
"""Share of images whose prediction set shall contain the true class. At 0.9, one in five validation images of the
shipped recipe would keep all classes, which is no answer."""
FEWEST = 9
"""Smallest number of validation groups per class. With few, a threshold is mere chance; with fewer than
1 / (1 - COVERAGE) - 1, the class could never be excluded."""
DECIMALS = 6
"""Decimals of the interval ends in the model file."""


@dataclass(frozen=True)
class Calibration:
    """Result of a calibration; the defaults change nothing.

    Attributes:
        temperature: Divisor of the scores before softmax, above 0.
        operating_points: Thresholds on the probability of COVID-19 after the temperature.
        conformal: Prediction sets and intervals of the probabilities after the temperature.
    """

    temperature: float = 1.0
    operating_points: tuple[OperatingPoint, ...] = ()
    conformal: Conformal | None = None


def calibrate(path: Path) -> Calibration:
    """Calibrate on the file ``validation.csv`` of a run.

    Without the class COVID-19 there are neither operating points nor prediction sets. Operating points also need
    validation images with and without COVID-19; prediction sets need FEWEST validation groups of each class.
    """
    table = read_scores(path)
    labels, y_true, groups = table.labels, table.y_true, table.groups
    temperature = fit_temperature(y_true, table.y_score)
    y_score = tempered(table.y_score, temperature)
    return Calibration(
        temperature, _covid_points(labels, y_true, y_score, groups), _conformal(labels, y_true, y_score, groups)
    )


def tempered(y_score: FloatArray, temperature: float) -> FloatArray:
    """Return softmax(log p / T): log p equals the scores before softmax up to a constant, which softmax cancels.

    Args:
        y_score: Probabilities: float64, shape (n, classes).
        temperature: T, above 0.

    Returns:
        float64, shape (n, classes), probabilities.
    """
    logits = np.log(np.maximum(y_score, SMALLEST)) / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(y_true: IntArray, y_score: FloatArray) -> float:
    """Return the temperature with the smallest mean negative log likelihood (Guo et al. 2017).

    Args:
        y_true: Class indices: int64, shape (n,).
        y_score: Probabilities: float64, shape (n, classes).

    Returns:
        Temperature within TEMPERATURES; above 1 if the network was overconfident.
    """
    images = np.arange(len(y_true))

    def loss(log_temperature: float) -> float:
        likelihoods = tempered(y_score, np.exp(log_temperature))[images, y_true]
        return float(-np.log(np.maximum(likelihoods, SMALLEST)).mean())

    best = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))


def _covid_points(
    labels: Sequence[Label], y_true: IntArray, y_score: FloatArray, groups: NDArray[np.str_]
) -> tuple[OperatingPoint, ...]:
    if Label.COVID not in labels:
        return ()
    covid = labels.index(Label.COVID)
    truth = y_true == covid
    if truth.all() or not truth.any():
        return ()
    return operating_points(truth, y_score[:, covid], groups)


def operating_points(
    truth: NDArray[np.bool_], score: FloatArray, groups: NDArray[np.str_]
) -> tuple[OperatingPoint, ...]:
    """Choose operating points of a score, and measure them on the same images.

    Args:
        truth: Whether an image shows COVID-19: bool, shape (n,), with both values.
        score: Probability of COVID-19, 0..1: float64, shape (n,).
        groups: Groups, see covidcxr.data.manifest.Record: str, shape (n,).

    Returns:
        One point per PointName, in their order; how each is chosen is described there.
    """
    thresholds = np.maximum(np.unique(score) - MARGIN, 0)
    found = truth.sum() - np.searchsorted(np.sort(score[truth]), thresholds)
    cleared = np.searchsorted(np.sort(score[~truth]), thresholds)
    screening = np.flatnonzero(found / truth.sum() >= SCREENING_SENSITIVITY)[-1]
    # in integers, so that ties are exact; the first has the lowest threshold, hence the highest sensitivity
    balanced = np.argmax(found * (~truth).sum() + cleared * truth.sum())
    chosen = {PointName.SCREENING: screening, PointName.BALANCED: balanced}
    return tuple(_measured(name, float(thresholds[chosen[name]]), truth, score, groups) for name in PointName)


def _measured(
    name: PointName, threshold: float, truth: NDArray[np.bool_], score: FloatArray, groups: NDArray[np.str_]
) -> OperatingPoint:
    called = np.eye(2)[(score >= threshold).astype(int)]  # as the probabilities 0 and 1 that the metrics expect
    measured = {"sensitivity": sensitivity(1), "specificity": specificity(1)}
    estimates = estimate(measured, truth.astype(np.int64), called, groups, seed=SEED)
    return OperatingPoint(
        name=name,
        threshold=threshold,
        sensitivity=estimates["sensitivity"].value,
        sensitivity_interval=(estimates["sensitivity"].low, estimates["sensitivity"].high),
        specificity=estimates["specificity"].value,
        specificity_interval=(estimates["specificity"].low, estimates["specificity"].high),
        images=len(truth),
        groups=len(np.unique(groups)),
    )


def _conformal(
    labels: Sequence[Label], y_true: IntArray, y_score: FloatArray, groups: NDArray[np.str_]
) -> Conformal | None:
    # One random image per group: the guarantee needs exchangeable images, which those of one patient are not. Weights
    # would be the alternative, but crepes and venn-abers accept none.
    order = np.random.default_rng(SEED).permutation(len(groups))
    drawn = order[np.unique(groups[order], return_index=True)[1]]
    y_true, y_score = y_true[drawn], y_score[drawn]
    images = np.bincount(y_true, minlength=len(labels))
    if Label.COVID not in labels or images.min() < FEWEST:
        return None
    covid = labels.index(Label.COVID)
    scores, low, high = interval_steps(y_true == covid, y_score[:, covid])
    return Conformal(
        coverage=COVERAGE,
        thresholds=set_thresholds(y_true, y_score),
        images=tuple(images.tolist()),
        scores=tuple(scores.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def set_thresholds(y_true: IntArray, y_score: FloatArray) -> tuple[float, ...]:
    """Return, for each class, the smallest probability at which it is in the prediction set, less MARGIN.

    Args:
        y_true: Class indices of exchangeable images: int64, shape (n,), with every class.
        y_score: Probabilities: float64, shape (n, classes).
    """
    classifier = ConformalClassifier()
    classifier.fit(1 - y_score[np.arange(len(y_true)), y_true], bins=y_true)

    def smallest(label: int) -> float:
        # the set changes only at the probabilities of this class's own images
        probabilities = np.unique(np.append(y_score[y_true == label, label], 0))
        bins = np.full(len(probabilities), label)
        possible = classifier.predict_set(1 - probabilities, bins=bins, confidence=COVERAGE, smoothing=False)
        return float(probabilities[possible == 1][0])

    return tuple(max(smallest(label) - MARGIN, 0.0) for label in range(y_score.shape[1]))


def interval_steps(truth: NDArray[np.bool_], score: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the Venn-Abers interval as a step function (Vovk and Petej 2014), ends rounded outwards to DECIMALS.

    Args:
        truth: Whether an image shows COVID-19: bool, shape (n,), with both values.
        score: Probability of COVID-19, 0..1: float64, shape (n,).

    Returns:
        Three float64 arrays of equal length: ascending scores, the first 0, and the lower and upper ends that apply
        from each score on, also ascending.
    """
    edges = np.unique(np.append(score, 0))
    between = (edges + np.append(edges[1:], 1)) / 2  # at an edge itself, the upper end is still that of the step below
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # venn-abers divides 0 by 0 and ignores the result

        fitted = VennAbers().fit(np.column_stack([1 - score, score]), truth.astype(int))
        _, ends = fitted.predict_proba(np.column_stack([1 - between, between]))
    outwards = np.column_stack([np.floor(ends[:, 0] * 10**DECIMALS), np.ceil(ends[:, 1] * 10**DECIMALS)])
    steps = np.maximum.accumulate(np.clip(outwards / 10**DECIMALS, 0, 1))
    changed = np.append(True, (np.diff(steps, axis=0) != 0).any(axis=1))
    return edges[changed], steps[changed, 0], steps[changed, 1]
