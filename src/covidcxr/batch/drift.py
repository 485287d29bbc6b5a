"""Whether images and scores are distributed as in a reference: the population stability index of histograms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

BINS = 100
GROUPS = 10
"""Groups of about equally many images of the reference that the index compares: the usual ten."""
MOVED, SHIFTED = 0.1, 0.25
"""The usual limits of the index (Siddiqi 2006, Credit Risk Scorecards)."""
QUANTILE = 1.645
"""Of the normal distribution at 95 %, one-sided."""


class Change(StrEnum):
    """How far a distribution is from its reference."""

    NONE = "none"
    """Below MOVED, or no more than two samples of one distribution differ by chance."""
    MOVED = "moved"
    SHIFTED = "shifted"


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How often a quantity had which value.

    Attributes:
        low: Lower end of the first bin, in the quantity's own unit.
        high: Upper end of the last bin.
        counts: int64, shape (BINS,), images in equally wide bins; values outside count in the outermost ones.
    """

    low: float
    high: float
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: NDArray[np.float64]) -> None:
        """Count values: any shape."""
        self.counts[:] += np.histogram(np.clip(values, self.low, self.high), BINS, (self.low, self.high))[0]

    @property
    def images(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return the histogram for JSON."""
        return {"low": self.low, "high": self.high, "counts": self.counts.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the histogram whose ``to_dict`` went through JSON.

        Raises:
            ValueError, KeyError, TypeError: Not such a histogram.
        """
        counts = np.array(values["counts"], np.int64)
        if counts.shape != (BINS,):
            raise ValueError(f"Expected {BINS} counts. Received {counts.shape}.")
        return cls(low=float(values["low"]), high=float(values["high"]), counts=counts)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far a quantity is from its reference.

    Attributes:
        index: Population stability index, at least 0; 0 where the shares are equal.
        chance: The index that two samples of these sizes from one distribution exceed in 5 % of all cases.
        change: In words.
    """

    index: float
    chance: float
    change: Change

    def to_dict(self) -> dict[str, Any]:
        """Return the drift for JSON."""
        return {"index": self.index, "chance": self.chance, "change": self.change}


def drift(reference: Histogram, received: Histogram) -> Drift | None:
    """Compare a quantity with its reference; None where there is nothing to compare.

    The index is the sum of (p - q) log(p / q) over groups with the shares p and q, half an image added to each group,
    since an empty one would make it infinite. By chance alone it is about (1/n + 1/m) times a chi-square variable with
    a degree of freedom less than groups (Yurdakul 2018).
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
    """Return the first bins of at most GROUPS groups of neighbouring bins, about equally full; at least two groups."""
    group = np.minimum(GROUPS * (np.cumsum(counts) - counts / 2) / counts.sum(), GROUPS - 1).astype(np.int64)
    return np.unique(group, return_index=True)[1].astype(np.int64)


def _chi_square(degrees: int) -> float:
    """Return the 95 % quantile of the chi-square distribution (Wilson and Hilferty 1931; here within 1 %)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + QUANTILE * math.sqrt(spread)) ** 3
