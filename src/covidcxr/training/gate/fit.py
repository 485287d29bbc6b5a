"""Fit of the gate to image features, with thresholds that adults of a new hospital pass."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from covidcxr._files import whole
from covidcxr.errors import ManifestError, RecipeError
from covidcxr.evaluation.metrics import FloatArray
from covidcxr.prediction.flags import FlagCode
from covidcxr.prediction.gate import Check

ADULT = "adult"
"""Kind of the images that the gate accepts; other kinds are named by their flag code."""
LEARNED = (FlagCode.NOT_A_CHEST_XRAY, FlagCode.CT, FlagCode.LATERAL, FlagCode.CHILD)
"""Checks with a regression, in the order of the scores."""
CODES = (*LEARNED, FlagCode.UNLIKE_TRAINING)
"""All checks, in the order of the scores."""
DIMENSIONS = 64
INVERSE_REGULARISATION = 0.1
DECLINED = {
    FlagCode.NOT_A_CHEST_XRAY: 0.0025,
    FlagCode.CT: 0.0025,
    FlagCode.LATERAL: 0.0075,
    FlagCode.CHILD: 0.015,
    FlagCode.UNLIKE_TRAINING: 0.0025,
}
"""Largest share of adults of a left-out origin that each check may decline, in the order of the scores: 3 % in total.
Checks of easily recognised kinds need little. Children are the hardest to distinguish from adults; their share is the
smallest of 0.5, 1, 1.5 ... % at which a gate fitted to three quarters of the training groups flags 85 % of the children
in the remaining quarter."""
LEAST = 50
"""Smallest number of adults of an origin that sets thresholds."""
TINY = 1e-6


@dataclass(frozen=True)
class Pictures:
    """Examples to which the gate is fitted.

    Attributes:
        features: Features averaged over the whole image: float32, shape (n, d).
        kinds: ADULT or one of LEARNED: str, shape (n,).
        origins: Origin, see covidcxr.data.manifest.Record: str, shape (n,).
        groups: Patient if known, else a unique name: str, shape (n,).
    """

    features: NDArray[np.float32]
    kinds: NDArray[np.str_]
    origins: NDArray[np.str_]
    groups: NDArray[np.str_]

    def without(self, origins: Collection[str]) -> "Pictures":
        """Return all examples except the adults of some origins."""
        return self._chosen(~((self.kinds == ADULT) & np.isin(self.origins, list(origins))))

    def adults_of(self, origin: str) -> "Pictures":
        """Return the adults of an origin."""
        return self._chosen((self.kinds == ADULT) & (self.origins == origin))

    def _chosen(self, chosen: NDArray[np.bool_]) -> "Pictures":
        return Pictures(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @property
    def large_origins(self) -> list[str]:
        """Origins with enough adults to set a threshold."""
        names, counts = np.unique(self.origins[self.kinds == ADULT], return_counts=True)
        return [str(name) for name, count in zip(names, counts, strict=True) if count >= LEAST]


@dataclass(frozen=True)
class Gate:
    """Fitted gate: two linear maps and thresholds, with scores in the order of CODES.

    Attributes:
        whitening: Map from features to axes on which radiographs have mean 0 and variance 1: float32, shape (d, k).
        centre: Constant of this map: float32, shape (k,).
        directions: Map from axes to the scores of LEARNED: float32, shape (k, checks - 1).
        offsets: Constant of this map: float32, shape (checks - 1,).
        thresholds: Scores from which images are declined: float32, shape (checks,).
    """

    whitening: NDArray[np.float32]
    centre: NDArray[np.float32]
    directions: NDArray[np.float32]
    offsets: NDArray[np.float32]
    thresholds: NDArray[np.float32]

    @property
    def checks(self) -> tuple[Check, ...]:
        """Checks for the metadata of the model file."""
        pairs = zip(CODES, self.thresholds, strict=True)
        return tuple(Check(code=code, threshold=float(threshold), declines=True) for code, threshold in pairs)

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores, as the exported graph computes them (gate_scores): float32, shape (n, checks)."""
        axes = features @ self.whitening + self.centre
        learned = bounded(axes) @ self.directions + self.offsets
        return np.column_stack([learned, np.log((axes**2).sum(axis=1) + TINY)]).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the gate as ``.npz`` file."""
        with whole(path) as partial:
            np.savez(partial, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file written by ``save``.

        Raises:
            RecipeError: The file cannot be read; the message names it.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{field.name: file[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError) as error:
            raise RecipeError(f"Expected a file of 'covidcxr gate train' at {path}. Received: {error!r}") from error


def bounded(axes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Limit the length of vectors, so that an image unlike all others gets no extreme scores."""
    shortened: NDArray[np.float32] = axes / np.sqrt(1 + np.square(axes).mean(axis=1, keepdims=True))
    return shortened


def fit(pictures: Pictures) -> Gate:
    """Fit a gate with the strictest thresholds at which no check declines more than DECLINED of any origin's adults.

    The adults of each origin are scored by a gate fitted without them, as those of a new hospital will be.

    Raises:
        ManifestError: A kind of image is missing, or fewer than two origins have enough adults.
    """
    if missing := {ADULT, *LEARNED} - set(pictures.kinds):
        raise ManifestError(f"Expected images of all kinds for the gate. Received none of {', '.join(missing)}.")
    origins = pictures.large_origins
    if len(origins) < 2:
        raise ManifestError(f"Expected {LEAST} adults from each of two origins for the gate. Received fewer.")
    unseen = [fit_maps(pictures.without([origin])).scores(pictures.adults_of(origin).features) for origin in origins]
    thresholds = [
        max(np.quantile(scores[:, column], 1 - DECLINED[code]) for scores in unseen)
        for column, code in enumerate(CODES)
    ]
    return replace(fit_maps(pictures), thresholds=np.array(thresholds, np.float32))


def declined_when_unseen(pictures: Pictures) -> dict[str, NDArray[np.bool_]]:
    """Return, by origin, which adults are declined by a gate fitted without that origin, thresholds included.

    Returns:
        Origin to bool, shape (adults, checks); empty with fewer than three origins.
    """
    origins = pictures.large_origins
    if len(origins) < 3:
        return {}
    gates = {origin: fit(pictures.without([origin])) for origin in origins}
    return {
        origin: gate.scores(pictures.adults_of(origin).features) >= gate.thresholds for origin, gate in gates.items()
    }


def fit_maps(pictures: Pictures) -> Gate:
    """Fit a gate with infinite thresholds."""
    radiographs = np.isin(pictures.kinds, [ADULT, FlagCode.CHILD])
    whitening, centre = _whitening(pictures.features[radiographs].astype(np.float64))
    axes = bounded((pictures.features @ whitening + centre).astype(np.float32))
    fitted = [_regression(axes, pictures, code) for code in LEARNED]
    return Gate(
        whitening=whitening.astype(np.float32),
        centre=centre.astype(np.float32),
        directions=np.stack([direction for direction, _ in fitted], axis=1).astype(np.float32),
        offsets=np.array([offset for _, offset in fitted], np.float32),
        thresholds=np.full(len(CODES), np.inf, np.float32),
    )


def _whitening(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return map and constant to the largest principal components of standardised features, scaled to variance 1."""
    mean, spread = features.mean(axis=0), features.std(axis=0) + TINY
    standardised = (features - mean) / spread
    variances, components = np.linalg.eigh(standardised.T @ standardised / len(features))  # ascending
    kept = min(DIMENSIONS, int(np.sum(variances > TINY * variances[-1])))
    whitening = components[:, -kept:] / np.sqrt(variances[-kept:]) / spread[:, np.newaxis]
    return whitening, -mean @ whitening


def _regression(axes: NDArray[np.float32], pictures: Pictures, code: FlagCode) -> tuple[FloatArray, float]:
    """Fit one kind against frontal radiographs, with equal weight for both sides and for the origins within each."""
    positive = pictures.kinds == code
    chosen = positive | np.isin(pictures.kinds, [ADULT, FlagCode.CHILD])
    kinds, origins = pictures.kinds[chosen], pictures.origins[chosen]
    weights = np.zeros(len(kinds))
    for side in (True, False):
        cells = {(kind, origin) for kind, origin in zip(kinds, origins, strict=True) if (kind == code) == side}
        for kind, origin in cells:
            cell = (kinds == kind) & (origins == origin)
            weights[cell] = 1 / cell.sum() / len(cells)
    model = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=1000)
    model.fit(axes[chosen], kinds == code, weights * len(kinds) / 2)
    return model.coef_[0], float(model.intercept_[0])
