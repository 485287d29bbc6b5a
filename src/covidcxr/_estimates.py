"""Figures with a 95 % interval, as text and in Bayes' rule."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Estimate:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, found: Any) -> Self:  # noqa: ANN401
        """Take ``value``, ``low`` and ``high`` from a JSON object or from the attributes of an object."""
        read = found.__getitem__ if isinstance(found, Mapping) else found.__getattribute__
        return cls(read("value"), read("low"), read("high"))

    def __format__(self, spec: str) -> str:
        """Write the figure and its interval.

        Args:
            spec: Format of one number; with ``%`` at the end, of one number in percent. Empty means ``.3f``.

        Example:
            >>> f"{Estimate(0.5, 0.4, 0.6)}, {Estimate(0.5, 0.4, 0.6):.1%}"
            '0.500 (0.400 to 0.600), 50.0 % (40.0 to 60.0)'
        """
        if math.isnan(self.value):
            return "not defined"
        ends = self.value, self.low, self.high
        if spec.endswith("%"):
            value, low, high = (f"{100 * end:{spec[:-1]}f}" for end in ends)
            return f"{value} % ({low} to {high})"
        value, low, high = (f"{end:{spec or '.3f'}}" for end in ends)
        return f"{value} ({low} to {high})"

    def __str__(self) -> str:
        return format(self)

    def to_dict(self) -> dict[str, float]:
        """Return ``value``, ``low`` and ``high`` for JSON."""
        return asdict(self)


def predictive_values(prevalence: float, sensitivity: float, specificity: float) -> tuple[float, float]:
    """Return PPV and NPV by Bayes' rule, nan where nobody would be called positive, or negative.

    Args:
        prevalence: Share of the people who have the disease, 0..1.
        sensitivity: Share of them who are called positive, 0..1.
        specificity: Share of the others who are called negative, 0..1.
    """
    found, missed = prevalence * sensitivity, prevalence * (1 - sensitivity)
    cleared, alarmed = (1 - prevalence) * specificity, (1 - prevalence) * (1 - specificity)
    return (
        found / (found + alarmed) if found + alarmed else math.nan,
        cleared / (cleared + missed) if cleared + missed else math.nan,
    )
