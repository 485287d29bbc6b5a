"""Prediction sets and intervals of the probability of COVID-19: computed by calibration, applied with NumPy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Conformal:
    """Class-conditional conformal prediction sets (Vovk 2012) and a Venn-Abers interval (Vovk and Petej 2014).

    Attributes:
        coverage: Share of the images of each class whose set contains that class, 0..1, if new images resemble the
            validation images.
        thresholds: Lowest probability, 0..1, with which the set contains a class, for each of the model's labels.
        images: Number of validation images of each class.
        scores: Ascending probabilities of COVID-19 at which the interval changes, 0..1, shape (n,).
        low: Lower end of the interval from each of ``scores`` on, 0..1, shape (n,).
        high: Upper end, 0..1, shape (n,).
    """

    coverage: float
    thresholds: tuple[float, ...]
    images: tuple[int, ...]
    scores: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("thresholds", "scores", "low", "high"):
            if not all(0 <= value <= 1 for value in getattr(self, name)):
                raise ValueError(f"Expected {name} in 0..1. Received {getattr(self, name)}.")
        if not len(self.scores) == len(self.low) == len(self.high):
            raise ValueError(f"Expected as many ends as scores. Received {len(self.scores)} scores.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the object whose ``dataclasses.asdict`` went through JSON, which has no tuples.

        Raises:
            ValueError, KeyError, TypeError: Not such an object.
        """
        lists = ("thresholds", "images", "scores", "low", "high")
        return cls(coverage=values["coverage"], **{name: tuple(values[name]) for name in lists})

    def prediction_set(self, probabilities: Sequence[float]) -> tuple[int, ...]:
        """Return the indices of the classes that remain possible, from none to all."""
        pairs = enumerate(zip(probabilities, self.thresholds, strict=True))
        return tuple(index for index, (probability, threshold) in pairs if probability >= threshold)

    def interval(self, probability: float) -> tuple[float, float] | None:
        """Return the ends of the interval of a probability of COVID-19; None if there are no scores."""
        if not self.scores:
            return None
        place = max(0, int(np.searchsorted(self.scores, probability, side="right")) - 1)
        return self.low[place], self.high[place]
