"""A linear head that is computed instead of trained, from differences that all collections have in common.

A head fitted to the training images learns the small differences between collections, because they predict the label
best. The difference of class means, with equal weight for every collection, cannot adapt to them. Two more differences
are added that are free of collection effects, because both sides come from one collection: pneumonia against normal,
and synthetic opacities against none. Their weights were chosen by the protocol unseen-hospitals (docs/experiments.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from covidcxr.data.manifest import Record
from covidcxr.errors import ManifestError
from covidcxr.evaluation.metrics import FloatArray, IntArray
from covidcxr.labels import LABELS, Label
from covidcxr.recipes.recipe import RobustHead

LEAST = 50
"""Smallest number of images of a class in an origin; the mean of fewer is too uncertain for equal weight."""
TINY = 1e-6
NORMAL, PNEUMONIA, COVID = (LABELS.index(label) for label in (Label.NORMAL, Label.PNEUMONIA, Label.COVID))

Cell = tuple[str, int]
"""An origin and a class."""


@dataclass(frozen=True)
class Features:
    """Pooled features of the training images.

    Attributes:
        plain: Features of the images: float32, shape (n, d).
        opaque: Features of the same images with synthetic opacities: float32, shape (n, d).
        y_true: Index into LABELS: int64, shape (n,).
        origins: Origin, see covidcxr.data.manifest.Record: str, shape (n,).
    """

    plain: NDArray[np.float32]
    opaque: NDArray[np.float32]
    y_true: IntArray
    origins: NDArray[np.str_]


def fit_head(features: Features, settings: RobustHead) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute kernel and bias of the dense layer.

    The score of COVID-19 minus that of normal depends on one direction of the features, the robust one. The score of
    pneumonia has its own direction, a plain logistic regression, because sources of pneumonia also contain normals.

    Args:
        features: Features of the training images.
        settings: Weights of the parts.

    Returns:
        Kernel, float32, shape (d, 3), and bias, float32, shape (3,), for classes in the order of LABELS. The scale of
        the scores before softmax is fitted with equal weight for every class.

    Raises:
        ManifestError: There is no image of pneumonia, or no origin with LEAST images of COVID-19 or of normal.
    """
    if PNEUMONIA not in features.y_true:
        raise ManifestError("Expected training images of pneumonia. Received none.")
    mean, spread = features.plain.mean(axis=0), features.plain.std(axis=0) + TINY
    plain, opaque = ((part.astype(np.float64) - mean) / spread for part in (features.plain, features.opaque))
    y_true = features.y_true
    disease = _unit(_disease(plain, opaque, y_true, features.origins, settings), plain)
    known = y_true != PNEUMONIA
    contrast = _logistic(plain[known], y_true[known] == COVID, settings.inverse_regularisation)
    covid = disease + settings.contrast * _unit(contrast, plain)
    pneumonia = _logistic(plain, y_true == PNEUMONIA, settings.inverse_regularisation)
    directions = np.stack([covid, pneumonia], axis=1)
    weights, bias = _scores(plain @ directions, y_true)
    kernel = directions @ weights / spread[:, np.newaxis]
    return kernel.astype(np.float32), (bias - mean @ kernel).astype(np.float32)


def _disease(
    plain: FloatArray, opaque: FloatArray, y_true: IntArray, origins: NDArray[np.str_], settings: RobustHead
) -> FloatArray:
    """Return the direction from health to disease: float64, shape (d,)."""
    cells = {cell: chosen for cell, chosen in _cells(y_true, origins).items() if chosen.sum() >= LEAST}
    means = {cell: plain[chosen].mean(axis=0) for cell, chosen in cells.items()}
    covid, normal = ([mean for (_, label), mean in means.items() if label == of] for of in (COVID, NORMAL))
    if not (covid and normal):
        raise ManifestError(f"Expected {LEAST} images of COVID-19 and of normal of one origin each. Received fewer.")
    direction: FloatArray = np.mean(covid, axis=0) - np.mean(normal, axis=0)
    within = [
        mean - means[origin, NORMAL]
        for (origin, label), mean in means.items()
        if label == PNEUMONIA and (origin, NORMAL) in means
    ]
    if within:
        direction = direction + settings.within * np.mean(within, axis=0)
    effect = [opaque[chosen].mean(axis=0) - means[cell] for cell, chosen in cells.items()]
    mean_effect: FloatArray = np.mean(effect, axis=0)
    return direction + settings.opacities * mean_effect


def _cells(y_true: IntArray, origins: NDArray[np.str_]) -> dict[Cell, NDArray[np.bool_]]:
    pairs = sorted({(str(origin), int(label)) for origin, label in zip(origins, y_true, strict=True)})
    return {(origin, label): (origins == origin) & (y_true == label) for origin, label in pairs}


def _logistic(features: FloatArray, positive: NDArray[np.bool_], inverse_regularisation: float) -> FloatArray:
    """Return the direction of a logistic regression with equal weight for both classes: float64, shape (d,)."""
    model = LogisticRegression(C=inverse_regularisation, class_weight="balanced", max_iter=1000)
    direction: FloatArray = model.fit(features, positive).coef_[0]
    return direction


def _unit(direction: FloatArray, features: FloatArray) -> FloatArray:
    """Scale a direction so that the features have a standard deviation of 1 along it."""
    return direction / max(float((features @ direction).std()), TINY)


def _scores(evidence: FloatArray, y_true: IntArray) -> tuple[FloatArray, FloatArray]:
    """Fit weights, shape (2, 3), and bias, shape (3,), float64, from evidence of COVID-19 and of pneumonia to scores.

    The evidence of pneumonia contributes to the score of pneumonia only, so that it never decides between the other
    two. The mean over the classes is subtracted: softmax cancels it, and every class gets its own activation map.
    """
    share = 1 / np.bincount(y_true, minlength=len(LABELS))[y_true] / len(LABELS)

    def unpacked(values: FloatArray) -> tuple[FloatArray, FloatArray]:
        weights, bias = np.zeros((2, len(LABELS))), np.zeros(len(LABELS))
        weights[0, COVID], weights[0, PNEUMONIA], weights[1, PNEUMONIA] = values[:3]
        bias[COVID], bias[PNEUMONIA] = values[3:]
        return weights, bias

    def loss(values: FloatArray) -> float:
        weights, bias = unpacked(values)
        scores = evidence @ weights + bias
        return float(share @ (logsumexp(scores, axis=1) - scores[np.arange(len(scores)), y_true]))

    weights, bias = unpacked(minimize(loss, np.array([1.0, 0.0, 1.0, 0.0, 0.0])).x)
    return weights - weights.mean(axis=1, keepdims=True), bias - bias.mean()


def features_of(plain: NDArray[np.float32], opaque: NDArray[np.float32], records: Sequence[Record]) -> Features:
    """Combine the features of images with labels and origins from their records; see Features."""
    y_true = np.array([LABELS.index(record.label) for record in records], np.int64)
    return Features(plain, opaque, y_true, np.array([record.origin for record in records]))
