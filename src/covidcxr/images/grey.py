"""Grey arrays: their form, the size limits of images, and the mapping of values to grey levels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidcxr.errors import ImageError

Grey = NDArray[np.uint8]
"""A decoded radiograph: uint8, shape (height, width), upright, 0 = black (air), 255 = white (bone)."""
MAX_PIXELS = 64_000_000
"""Four times the largest computed radiography plate in common use (about 4300 x 3600 pixels)."""
MAX_DEEP_PIXELS = MAX_PIXELS // 4
"""Limit for formats that need far more memory: 32 bits a pixel, and WebP, whose decoder keeps several canvases."""
MIN_SIDE = 32
"""Pixels; nothing of a lung is visible below this."""
MAX_JPEG_SCANS = 100
"""Limit for progressive JPEG: every scan costs a pass over all pixels; encoders write about ten."""
DISPLAY_PERCENTILES = (0.1, 99.9)
"""Grey range of images deeper than 8 bits without a window; robust against a lead marker."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue, ITU-R BT.601."""
_JPEG_SCAN = b"\xff\xda"  # marker SOS, ITU-T T.81 table B.1


def check_size(width: int, height: int) -> None:
    """Reject sizes in pixels that are too small to show a lung or too large to decode.

    Raises:
        ImageError: A side is shorter than MIN_SIDE, or there are more than MAX_PIXELS.
    """
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels, less than {MIN_SIDE} x {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels, more than {MAX_PIXELS} are not decoded")


def check_scans(jpeg: bytes) -> None:
    """Reject a progressive JPEG with so many scans that a small file takes hours to decode.

    Raises:
        ImageError: More than MAX_JPEG_SCANS.
    """
    if jpeg.count(_JPEG_SCAN) > MAX_JPEG_SCANS:
        raise ImageError(f"a JPEG of more than {MAX_JPEG_SCANS} scans")


def percentiles_of(levels: NDArray[np.float64], counts: NDArray[np.integer]) -> tuple[float, float]:
    """Return DISPLAY_PERCENTILES of a histogram: values and how often each occurs, both of shape (n,)."""
    order = np.argsort(levels)
    share = np.cumsum(counts[order]) / max(int(counts.sum()), 1)
    low, high = np.searchsorted(share, np.array(DISPLAY_PERCENTILES) / 100)
    last = len(order) - 1
    return float(levels[order[min(low, last)]]), float(levels[order[min(high, last)]])


def to_grey(values: NDArray[Any], low: float, high: float) -> Grey:
    """Map [low, high] linearly to 0..255 and clip; if high is not above low (a uniform image), all becomes black."""
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low) if high > low else 0)
    grey: Grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return grey
