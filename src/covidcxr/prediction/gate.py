"""Checks that decide whether the model answers for an image: on its pixels, and on scores of the network itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from covidcxr.images.grey import Grey
from covidcxr.prediction.flags import Flag, FlagCode

SMALLEST_SIDE = 100
"""Pixels. Smaller images would be upsampled to 224 px, and the network would judge interpolation."""
EXTREME = 0.95
"""Largest accepted share of black and white pixels."""
BLACK, WHITE = 8, 247


@dataclass(frozen=True, kw_only=True)
class Check:
    """A threshold on one column of the graph output ``gate``.

    Attributes:
        code: Flag of an image whose score is at least the threshold.
        threshold: Threshold on the score.
        declines: Whether the model then declines to answer.
    """

    code: FlagCode
    threshold: float
    declines: bool

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the check whose ``dataclasses.asdict`` went through JSON.

        Raises:
            ValueError, KeyError, TypeError: Not such a check.
        """
        return cls(**{**values, "code": FlagCode(values["code"])})


def pixel_flags(grey: Grey) -> tuple[Flag, ...]:
    """Return the flags of an image by its pixels alone: uint8, shape (height, width), from covidcxr.images."""
    if grey.min() == grey.max():
        return (Flag(FlagCode.UNIFORM),)
    if min(grey.shape) < SMALLEST_SIDE:
        return (Flag(FlagCode.TOO_SMALL),)
    if np.count_nonzero(grey < BLACK) + np.count_nonzero(grey > WHITE) > EXTREME * grey.size:
        return (Flag(FlagCode.BADLY_EXPOSED),)
    return ()


def score_flags(checks: Sequence[Check], scores: NDArray[np.float32]) -> tuple[Flag, ...]:
    """Return the flags of an image by the network's scores, in the order of the checks.

    Args:
        checks: Checks of the model file.
        scores: float32, shape (checks,): the image's row of the graph output ``gate``.
    """
    return tuple(
        Flag(check.code, check.declines)
        for check, score in zip(checks, scores, strict=True)
        if score >= check.threshold
    )
