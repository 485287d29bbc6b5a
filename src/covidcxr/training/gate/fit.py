"""The quality gate as numbers: fitted to features of pictures, with thresholds that a new hospital's adults pass."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from covidcxr.errors import ManifestError, RecipeError
from covidcxr.evaluation.metrics import FloatArray
from covidcxr.prediction.flags import FlagCode
from covidcxr.prediction.gate import Check

ADULT = "adult"
"""Kind of the pictures that the gate lets pass; the others have the code of their flag."""
LEARNED = (FlagCode.NOT_A_CHEST_XRAY, FlagCode.CT, FlagCode.LATERAL, FlagCode.CHILD)
"""Checks that a regression is fitted for, in the order of the scores."""
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
"""Largest share of the adults of a collection that was left out, in the order of the scores; 3 % at most together.
Where a check tells its kind easily it needs little, and children are the hardest to tell from adults: their share is
the smallest of 0.5, 1, 1.5 ... % with which a gate fitted to three quarters of the training groups flags 85 % of the
children in the fourth."""
LEAST = 50
"""Adults of an origin below which it sets no threshold."""
TINY = 1e-6


@dataclass(frozen=True)
class Pictures:
    """What the gate is fitted to.

    Attributes:
        features: float32, shape (n, d): means over the whole picture.
        kinds: str, shape (n,): ADULT or one of LEARNED.
        origins: str, shape (n,), see covidcxr.data.manifest.Record.
        groups: str, shape (n,), patients where known.
    """

    features: NDArray[np.float32]
    kinds: NDArray[np.str_]
    origins: NDArray[np.str_]
    groups: NDArray[np.str_]

    def without(self, origins: Collection[str]) -> "Pictures":
        """Return the pictures less the adults of some origins."""
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
    """Two linear maps; the scores stand in the order of CODES.

    Attributes:
        whitening: float32, shape (d, k): from features to axes on which radiographs have mean 0 and variance 1.
        centre: float32, shape (k,), added to them.
        directions: float32, shape (k, checks - 1), of LEARNED.
        offsets: float32, shape (checks - 1,).
        thresholds: float32, shape (checks,).
    """

    whitening: NDArray[np.float32]
    centre: NDArray[np.float32]
    directions: NDArray[np.float32]
    offsets: NDArray[np.float32]
    thresholds: NDArray[np.float32]

    @property
    def checks(self) -> tuple[Check, ...]:
        """What goes into the metadata of the model file."""
        pairs = zip(CODES, self.thresholds, strict=True)
        return tuple(Check(code=code, threshold=float(threshold), declines=True) for code, threshold in pairs)

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32, shape (n, checks); the exported graph does the same (covidcxr.training.gate.features)."""
        axes = features @ self.whitening + self.centre
        learned = bounded(axes) @ self.directions + self.offsets
        return np.column_stack([learned, np.log((axes**2).sum(axis=1) + TINY)]).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the file that export picks up."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what save wrote.

        Raises:
            RecipeError: Not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{field.name: file[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError) as error:
            raise RecipeError(f"Expected a file of 'covidcxr gate train' at {path}. Received: {error!r}") from error


def bounded(axes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the direction and limit the length, so that a picture far from everything gets no wild scores."""
    shortened: NDArray[np.float32] = axes / np.sqrt(1 + np.square(axes).mean(axis=1, keepdims=True))
    return shortened


def fit(pictures: Pictures) -> Gate:
    """Fit a gate and choose its thresholds: of every check the strictest that no origin needs more than DECLINED for.

    An origin's adults are scored by a gate that was fitted without them, as those of a new hospital will be.

    Raises:
        ManifestError: A kind of picture is missing, or there are not two origins with enough adults.
    """
    if missing := {ADULT, *LEARNED} - set(pictures.kinds):
        raise ManifestError(f"Expected pictures of all kinds for the gate. Received none of {', '.join(missing)}.")
    origins = pictures.large_origins
    if len(origins) < 2:
        raise ManifestError(f"Expected {LEAST} adults of each of two origins for the gate. Received fewer.")
    unseen = [fit_maps(pictures.without([origin])).scores(pictures.adults_of(origin).features) for origin in origins]
    thresholds = [
        max(np.quantile(scores[:, column], 1 - DECLINED[code]) for scores in unseen)
        for column, code in enumerate(CODES)
    ]
    return replace(fit_maps(pictures), thresholds=np.array(thresholds, np.float32))


def declined_when_unseen(pictures: Pictures) -> dict[str, NDArray[np.bool_]]:
    """Tell which adults of each origin a gate declines that neither its maps nor its thresholds have seen.

    Returns:
        By origin: bool, shape (adults, checks). Empty with fewer than three origins.
    """
    origins = pictures.large_origins
    if len(origins) < 3:
        return {}
    gates = {origin: fit(pictures.without([origin])) for origin in origins}
    return {
        origin: gate.scores(pictures.adults_of(origin).features) >= gate.thresholds for origin, gate in gates.items()
    }


def fit_maps(pictures: Pictures) -> Gate:
    """Fit all but the thresholds, which are infinite."""
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
    """Return map and constant to the largest principal components of standardised features, each of variance 1."""
    mean, spread = features.mean(axis=0), features.std(axis=0) + TINY
    standardised = (features - mean) / spread
    variances, components = np.linalg.eigh(standardised.T @ standardised / len(features))  # ascending
    kept = min(DIMENSIONS, int(np.sum(variances > TINY * variances[-1])))
    whitening = components[:, -kept:] / np.sqrt(variances[-kept:]) / spread[:, np.newaxis]
    return whitening, -mean @ whitening


def _regression(axes: NDArray[np.float32], pictures: Pictures, code: FlagCode) -> tuple[FloatArray, float]:
    """Fit one kind against frontal radiographs, each side counting the same, and so every origin within a side."""
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
