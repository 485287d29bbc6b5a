"""A temperature and two operating points, from the validation groups of a run and never from test data."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from covidcxr.artifact import OperatingPoint, PointName
from covidcxr.labels import LABELS, Label
from covidcxr.metrics import FloatArray, IntArray, estimate, sensitivity, specificity

SEED = 0
SCREENING_SENSITIVITY = 0.95
TEMPERATURES = (0.2, 10.0)
"""Limits of the fit: without a mistake on the validation images the best temperature would be 0, and a small one makes
the rounding of float32 larger by 1 / T."""
SMALLEST = float(np.finfo(np.float32).tiny)
"""Stands in for a probability of 0, which the network's float32 gives where it is smaller than that."""
MARGIN = 1e-5
"""How far a threshold lies below the image that it was chosen on: as far as an exported file may differ from Keras."""


@dataclass(frozen=True)
class Calibration:
    """What an export adds to the network; the defaults add nothing.

    Attributes:
        temperature: Divides the scores before softmax.
        operating_points: Thresholds on the probability of COVID-19 after the temperature.
    """

    temperature: float = 1.0
    operating_points: tuple[OperatingPoint, ...] = ()


def calibrate(path: Path) -> Calibration:
    """Calibrate on the file ``validation.csv`` of a run.

    There are no operating points where the network has no class COVID-19, or no validation image stands on one side.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = tuple(label for label in LABELS if label in rows[0])
    y_true = np.array([labels.index(Label(row["y_true"])) for row in rows], np.int64)
    y_score = np.array([[float(row[label]) for label in labels] for row in rows], np.float64)
    groups = np.array([row["group"] for row in rows])
    temperature = fit_temperature(y_true, y_score)
    return Calibration(temperature, _covid_points(labels, y_true, tempered(y_score, temperature), groups))


def tempered(y_score: FloatArray, temperature: float) -> FloatArray:
    """Return softmax(log p / T). The logarithm of a softmax is its scores up to a constant, which softmax forgets.

    Args:
        y_score: float64, shape (n, classes), probabilities.
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
        y_true: int64, shape (n,), class indices.
        y_score: float64, shape (n, classes), probabilities.

    Returns:
        Within TEMPERATURES; above 1 the network was too sure of itself.
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
    """Choose the operating points of a score, and measure them on the images that they were chosen on.

    Args:
        truth: bool, shape (n,), whether an image shows COVID-19; both kinds are there.
        score: float64, shape (n,), probability of COVID-19, 0..1.
        groups: str, shape (n,), see covidcxr.manifest.Record.

    Returns:
        One point for every PointName, in their order; see there for how each is chosen.
    """
    thresholds = np.maximum(np.unique(score) - MARGIN, 0)
    found = truth.sum() - np.searchsorted(np.sort(score[truth]), thresholds)
    cleared = np.searchsorted(np.sort(score[~truth]), thresholds)
    screening = np.flatnonzero(found / truth.sum() >= SCREENING_SENSITIVITY)[-1]
    # in whole numbers, so that ties are ties; the first of them has the lowest threshold, hence the highest sensitivity
    balanced = np.argmax(found * (~truth).sum() + cleared * truth.sum())
    chosen = {PointName.SCREENING: screening, PointName.BALANCED: balanced}
    return tuple(_measured(name, float(thresholds[chosen[name]]), truth, score, groups) for name in PointName)


def _measured(
    name: PointName, threshold: float, truth: NDArray[np.bool_], score: FloatArray, groups: NDArray[np.str_]
) -> OperatingPoint:
    called = np.eye(2)[(score >= threshold).astype(int)]  # as probabilities of 0 and 1, which the metrics take
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
