"""Linear heads for experiments.py, from plain to fitted; the head of the recipe is covidcxr.training.robust_head."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from covidcxr.evaluation.metrics import FloatArray
from covidcxr.recipes.recipe import RobustHead
from covidcxr.training.robust_head import COVID, LEAST, NORMAL, TINY, Features, fit_head

Head = tuple[FloatArray, FloatArray]
"""Kernel (d, k) and bias (k,): k = 3 class scores before softmax, or k = 1 score of COVID-19 against normal."""
Fit = Callable[[Features], Head]
Means = dict[tuple[str, int], FloatArray]
"""Mean features by origin and class."""


def logistic(c: float, *, by_origin: bool = False) -> Fit:
    """Logistic regression of COVID-19 against normal, both classes weighted equally.

    Args:
        c: Inverse regularisation.
        by_origin: Whether the origins of a class are weighted equally, too; those below LEAST images are left out.
    """

    def fit(features: Features) -> Head:
        shares = _shares(features, by_origin)
        chosen = shares > 0
        model = LogisticRegression(C=c, max_iter=1000)
        model.fit(
            _standardised(features.plain, features)[chosen],
            features.y_true[chosen] == COVID,
            sample_weight=shares[chosen] * chosen.sum(),
        )
        return _raw(model.coef_.T, model.intercept_, features)

    return fit


def _shares(features: Features, by_origin: bool) -> FloatArray:
    """Return the weight of every image: float64, shape (n,), 0 for pneumonia, sum 0.5 for each other class."""
    shares = np.zeros(len(features.y_true))
    for label in (NORMAL, COVID):
        parts = [chosen for (_, of), chosen in _cells(features).items() if of == label]
        for part in parts if by_origin else [features.y_true == label]:
            shares[part] = 1 / part.sum()
        shares[features.y_true == label] /= 2 * shares[features.y_true == label].sum()
    return shares


def multinomial(c: float) -> Fit:
    """Multinomial logistic regression of three classes, weighted equally; ``c`` as in logistic."""

    def fit(features: Features) -> Head:
        model = LogisticRegression(C=c, class_weight="balanced", max_iter=1000)
        model.fit(_standardised(features.plain, features), features.y_true)
        return _raw(model.coef_.T, model.intercept_, features)

    return fit


def difference_of_means(features: Features) -> Head:
    """Mean COVID-19 minus mean normal, all origins weighted equally: nothing is fitted."""
    return _raw(_difference(_means(features))[:, np.newaxis], np.zeros(1), features)


def discriminant(ridge: float, *, origins: float = 0.0, styles: float = 0.0) -> Fit:
    """Difference of means, turned away from directions that vary for other reasons (linear discriminant analysis).

    Args:
        ridge: Added to the variance of every direction; as it grows, the head approaches difference_of_means.
        origins: Weight of the directions in which the origins of one class differ.
        styles: Weight of the directions in which another style moves an image; ``features.opaque`` holds styled copies.
    """

    def fit(features: Features) -> Head:
        standard, means = _standardised(features.plain, features), _means(features)
        noise = np.mean([np.cov(standard[chosen].T) for chosen in _cells(features).values()], axis=0)
        noise += ridge * np.eye(len(noise))
        if origins:
            apart = _between_origins(means)
            noise += origins * apart.T @ apart / len(apart)
        if styles:
            moved = _standardised(features.opaque, features) - standard
            noise += styles * moved.T @ moved / len(moved)
        return _raw(np.linalg.solve(noise, _difference(means))[:, np.newaxis], np.zeros(1), features)

    return fit


def robust(*, within: float = 0.0, opacities: float = 0.0, contrast: float = 0.0) -> Fit:
    """Head of the recipe ``default`` with other weights; see covidcxr.recipes.recipe.RobustHead."""
    settings = RobustHead(within=within, opacities=opacities, contrast=contrast, inverse_regularisation=0.01)

    def fit(features: Features) -> Head:
        kernel, bias = fit_head(features, settings)
        return kernel.astype(np.float64), bias.astype(np.float64)

    return fit


def _standardised(values: NDArray[np.float32], features: Features) -> FloatArray:
    """Scale features to mean 0 and standard deviation 1 over the plain images."""
    mean, spread = features.plain.mean(axis=0), features.plain.std(axis=0) + TINY
    scaled: FloatArray = (values.astype(np.float64) - mean) / spread
    return scaled


def _raw(kernel: FloatArray, bias: FloatArray, features: Features) -> Head:
    """Turn a head for standardised features into one for raw features."""
    kernel = kernel / (features.plain.std(axis=0) + TINY)[:, np.newaxis]
    return kernel, bias - features.plain.mean(axis=0) @ kernel


def _cells(features: Features) -> dict[tuple[str, int], NDArray[np.bool_]]:
    """Return which images belong to an origin and class, for those with at least LEAST images."""
    names = sorted({(str(origin), int(label)) for origin, label in zip(features.origins, features.y_true, strict=True)})
    cells = {(origin, label): (features.origins == origin) & (features.y_true == label) for origin, label in names}
    return {cell: chosen for cell, chosen in cells.items() if chosen.sum() >= LEAST}


def _means(features: Features) -> Means:
    standard = _standardised(features.plain, features)
    return {cell: standard[chosen].mean(axis=0) for cell, chosen in _cells(features).items()}


def _difference(means: Means) -> FloatArray:
    covid, normal = (
        np.mean([mean for (_, label), mean in means.items() if label == of], axis=0) for of in (COVID, NORMAL)
    )
    return np.asarray(covid - normal)


def _between_origins(means: Means) -> FloatArray:
    """Return the differences between the origins of one class: float64, shape (pairs, d)."""
    pairs = combinations(means.items(), 2)
    return np.array([a - b for ((_, label), a), ((_, other), b) in pairs if label == other])
