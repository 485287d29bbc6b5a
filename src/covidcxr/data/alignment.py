"""Comparison of two thumbnails in fine detail, after alignment.

A copy may be cropped and stretched, so ``b`` is aligned with ``a`` by a scale and a shift on each axis, refined by
robust Gauss-Newton steps (Lucas and Kanade 1981) that give outliers such as burnt-in text and arrows little weight.
Between different chests, ribs and vessels differ even in the best alignment.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import correlate1d, gaussian_filter1d

Thumbnail = NDArray[np.uint8]
Detail = NDArray[np.float32]

FINE = 128
"""Side in pixels of the final comparison."""
MIN_SECOND = 0.8
"""Agreement after the second level below which the last level is skipped."""


@dataclass(frozen=True)
class _Level:
    """One round of refinement.

    Attributes:
        side: Side in pixels at which the thumbnails are aligned.
        steps: Gauss-Newton steps.
        finest: Smallest scale of detail, as a share of the side (sigma of a Gaussian).
        widest: Largest scale of detail, likewise.
    """

    side: int
    steps: int
    finest: float
    widest: float


_LEVELS = (_Level(32, 3, 1 / 40, 1 / 12), _Level(64, 2, 1 / 128, 1 / 24), _Level(FINE, 3, 1 / 128, 1 / 24))
"""The first level, which sees wide structures only, corrects offsets of up to a tenth of the side."""
_MARGIN = 1 / 20  # share of the side excluded from the fit, where the filter lacks neighbours
_LONGEST_STEP = 0.03  # share of the side
_MAX_CROP = 0.15  # share of the side; copies cropped more than this are not detected
_BLOCKS = 6  # per side
_RANK = 65  # percentile of the blocks: text, arrows and clipping may spoil over a third of them
_NOISE = 1.0  # grey levels; weaker detail counts as none


@dataclass(frozen=True)
class Axis:
    """Map of one axis: the position t in ``a``, a share of its side, lies at ``offset + scale * t`` in ``b``."""

    offset: float
    scale: float

    def overlap(self) -> tuple[float, float, float, float]:
        """Return the overlap as shares of the side: start and end in ``a``, start and end in ``b``."""
        low, high = max(0.0, -self.offset / self.scale), min(1.0, (1 - self.offset) / self.scale)
        return low, high, max(0.0, self.offset + self.scale * low), min(1.0, self.offset + self.scale * high)

    def corrected(self, shift: float, stretch: float) -> "Axis":
        """Return the axis after a step that is given in shares of the overlap."""
        low, high, low_b, high_b = self.overlap()
        scale = (1 + stretch) * (high_b - low_b) / (high - low)
        return Axis(low_b + (high_b - low_b) * shift - scale * low, scale)

    @property
    def plausible(self) -> bool:
        """Whether the overlap covers most of both thumbnails."""
        least = 1 - 2 * _MAX_CROP
        if not least < self.scale < 1 / least:
            return False
        low, high, low_b, high_b = self.overlap()
        return min(high - low, high_b - low_b) > least


def agreement(a: Thumbnail, b: Thumbnail, x: Axis, y: Axis) -> float:
    """Measure how well the detail of two thumbnails agrees after alignment.

    Args:
        a: uint8, shape (side, side), side at least FINE.
        b: As ``a``.
        x: Initial map of the columns of ``a`` to ``b``, accurate to a few hundredths.
        y: Initial map of the rows.

    Returns:
        Correlation of the detail, -1..1, that the better third of the blocks reaches; 0 if it is below MIN_SECOND.
    """
    pictures = Image.fromarray(a), Image.fromarray(b)
    correlation = 0.0
    for number, level in enumerate(_LEVELS):
        for _ in range(level.steps):
            x, y = _step(pictures, x, y, level)
            if not (x.plausible and y.plausible):
                return 0.0
        if number > 0:
            correlation = _block_correlation(*_overlap(pictures, x, y, level))
            if correlation < MIN_SECOND:
                return 0.0
    return correlation


def _overlap(pictures: tuple[Image.Image, Image.Image], x: Axis, y: Axis, level: _Level) -> Detail:
    """Return the detail of both in their overlap, a band of spatial frequencies: float32, shape (2, side, side)."""
    side = level.side
    left, right, left_b, right_b = x.overlap()
    top, bottom, top_b, bottom_b = y.overlap()
    boxes = (left, top, right, bottom), (left_b, top_b, right_b, bottom_b)
    values = np.stack([_part(picture, box, side) for picture, box in zip(pictures, boxes, strict=True)])
    return _smooth(values, level.finest * side) - _smooth(values, level.widest * side)


def _part(picture: Image.Image, box: tuple[float, ...], side: int) -> Detail:
    """Return a part of a thumbnail at another size; ``box`` is in shares of its side."""
    left, top, right, bottom = (share * picture.width for share in box)
    part = picture.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.asarray(part, np.float32)


def _smooth(values: NDArray[np.float32], sigma: float) -> Detail:
    """Do what gaussian_filter does to each of two images, to the bit, with a kernel that is computed once."""
    kernel = _gaussian(sigma)
    smooth: Detail = correlate1d(correlate1d(values, kernel, axis=1), kernel, axis=2)
    return smooth


@cache
def _gaussian(sigma: float) -> NDArray[np.float64]:
    """Return the kernel of gaussian_filter."""
    radius = int(4 * sigma + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1
    kernel: NDArray[np.float64] = gaussian_filter1d(impulse, sigma, mode="constant")
    return kernel


def _inner(detail: Detail) -> Detail:
    margin = round(_MARGIN * len(detail))
    return detail[margin:-margin, margin:-margin].ravel()


def _step(pictures: tuple[Image.Image, Image.Image], x: Axis, y: Axis, level: _Level) -> tuple[Axis, Axis]:
    """Return the axes after one Gauss-Newton step in the gain, shift and stretch of ``b``."""
    side = level.side
    detail_a, detail_b = _overlap(pictures, x, y, level)
    slope_y, slope_x = np.gradient(detail_b, 1 / side)
    place = ((np.arange(side) + 0.5) / side).astype(np.float32)
    columns: tuple[Detail, ...] = (detail_b, slope_x, slope_x * place, slope_y, slope_y * place[:, None])
    design = np.stack([_inner(column) for column in columns], axis=1)
    gain, *moves = _robust_solve(design, _inner(detail_a))
    moves = np.clip(np.array(moves) / max(gain, 0.2), -_LONGEST_STEP, _LONGEST_STEP).tolist()
    return x.corrected(moves[0], moves[1]), y.corrected(moves[2], moves[3])


def _robust_solve(design: NDArray[np.float32], target: NDArray[np.float32]) -> list[float]:
    """Return least squares coefficients with Cauchy weights.

    The first weights come from scaling alone, so that outliers (an arrow) cannot distort the first solution.
    """
    spreads = [_median(np.abs(values)) + 1e-3 for values in (target, design[:, 0])]
    residual = target - spreads[0] / spreads[1] * design[:, 0]
    for _ in range(2):
        scale = 2 * _median(np.abs(residual)) + 1e-3
        weighted = design / (1 + (residual / scale) ** 2)[:, None]
        normal = weighted.T @ design
        normal += np.diag(1e-3 * normal.diagonal() + 1e-6)  # a uniform thumbnail has no slopes
        solution = np.linalg.solve(normal, weighted.T @ target)
        residual = target - design @ solution
    coefficients: list[float] = solution.tolist()
    return coefficients


def _median(values: NDArray[np.float32]) -> np.float32:
    """Do what numpy.median does to an even number of finite values, to the bit, without its checks."""
    half = len(values) // 2
    return np.mean(np.partition(values, (half - 1, half))[half - 1 : half + 1])


def _block_correlation(a: Detail, b: Detail) -> float:
    """Return the correlation that the better third of the blocks reaches."""
    area = (len(a) // _BLOCKS) ** 2
    sum_a, sum_b = _block_sums(a), _block_sums(b)
    variance_a = np.maximum(_block_sums(a * a) - sum_a * sum_a / area, 0)
    variance_b = np.maximum(_block_sums(b * b) - sum_b * sum_b / area, 0)
    covariance = _block_sums(a * b) - sum_a * sum_b / area
    return float(np.percentile(covariance / np.sqrt(variance_a * variance_b + (area * _NOISE) ** 2), _RANK))


def _block_sums(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sums over the blocks: float64, shape (_BLOCKS, _BLOCKS)."""
    block = len(values) // _BLOCKS
    used = block * _BLOCKS
    cut = values[:used, :used].reshape(_BLOCKS, block, _BLOCKS, block)
    sums: NDArray[np.float64] = cut.sum(axis=(1, 3), dtype=np.float64)
    return sums
