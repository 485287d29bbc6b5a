"""Drift of images and scores from a reference: the population stability index of histograms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

BINS = 100
GROUPS = 10
"""Groups that the index compares, each with about as many images of the reference; ten is usual."""
MOVED, SHIFTED = 0.1, 0.25
"""Usual limits of the index (Siddiqi 2006, Credit Risk Scorecards)."""
QUANTILE = 1.645
"""One-sided 95 % quantile of the normal distribution."""


class Change(StrEnum):
    """Verdict on the distance of a distribution from its reference."""

    NONE = "none"
    """Below MOVED, or within what two samples of one distribution differ by chance."""
    MOVED = "moved"
    SHIFTED = "shifted"


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Histogram of one quantity over images.

    Attributes:
        low: Lower end of the first bin, in the unit of the quantity.
        high: Upper end of the last bin, in the same unit.
        counts: int64, shape (BINS,), images in bins of equal width; values outside count in the first or last bin.
    """

    low: float
    high: float
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: NDArray[np.float64]) -> None:
        """Count values, an array of any shape."""
        self.counts[:] += np.histogram(np.clip(values, self.low, self.high), BINS, (self.low, self.high))[0]

    @property
    def images(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return the histogram for JSON."""
        return {"low": self.low, "high": self.high, "counts": self.counts.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the histogram that ``to_dict`` and JSON were given.

        Raises:
            ValueError, KeyError, TypeError: The values are not a histogram.
        """
        counts = np.array(values["counts"], np.int64)
        if counts.shape != (BINS,):
            raise ValueError(f"Expected {BINS} counts. Received {counts.shape}.")
        return cls(low=float(values["low"]), high=float(values["high"]), counts=counts)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Distance of a quantity from its reference.

    Attributes:
        index: Population stability index, at least 0; 0 means equal shares.
        chance: Index that two samples of these sizes from one distribution exceed in 5 % of cases.
        change: Verdict.
    """

    index: float
    chance: float
    change: Change


def drift(reference: Histogram, received: Histogram) -> Drift | None:
    """Compare a quantity with its reference; None if either has no images.

    The index is the sum of (p - q) log(p / q) over groups with shares p and q. Half an image is added to each group,
    because an empty group would make the index infinite. By chance alone the index is about (1/n + 1/m) times a
    chi-square variable with one degree of freedom fewer than groups (Yurdakul 2018).
    """
    if not (reference.images and received.images):
        return None
    starts = _groups(reference.counts)
    groups = len(starts)
    expected, found = (
        (np.add.reduceat(one.counts, starts) + 0.5) / (one.images + 0.5 * groups) for one in (reference, received)
    )
    index = float(((found - expected) * np.log(found / expected)).sum())
    chance = _chi_square(groups - 1) * (1 / reference.images + 1 / received.images)
    change = Change.MOVED if index < SHIFTED else Change.SHIFTED
    return Drift(index=index, chance=chance, change=Change.NONE if index < max(MOVED, chance) else change)


def _groups(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first bin of each of 2 to GROUPS groups of neighbouring bins, all about equally full."""
    group = np.minimum(GROUPS * (np.cumsum(counts) - counts / 2) / counts.sum(), GROUPS - 1).astype(np.int64)
    return np.unique(group, return_index=True)[1].astype(np.int64)


def _chi_square(degrees: int) -> float:
    """Return the 95 % quantile of the chi-square distribution (Wilson and Hilferty 1931; within 1 % here)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + QUANTILE * math.sqrt(spread)) ** 3
