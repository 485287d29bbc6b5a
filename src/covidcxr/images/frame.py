"""The square around the lungs, which is what the network sees of a radiograph.

How a collection cuts its pictures tells where they come from. A frame that starts from the lungs takes that away.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covidcxr.images.grey import Grey

Lungs = NDArray[np.float32]
"""float32, shape (side, side), 0..1: probability of lung, of a whole radiograph squeezed to a square."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of a picture's width and height; a frame may reach beyond the picture."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
LUNG = 0.5
"""Probability of lung below which a place counts as none."""
LEAST = 0.01
"""Smallest share of the picture that is lung; with less there is no frame."""
_STRAY = 0.005
"""Share of the lungs that the frame may leave out on each side, so that stray pixels do not enlarge it."""


class Frame(NamedTuple):
    """A part of a picture, in its pixels; it may reach beyond the picture."""

    left: float
    top: float
    right: float
    bottom: float

    def in_shares(self, width: int, height: int) -> Box:
        """Return the frame in shares of a picture of this size."""
        return self.left / width, self.top / height, self.right / width, self.bottom / height


def frame_lungs(lungs: Lungs, width: int, height: int, margin: float) -> Frame:
    """Return the square around the lungs; around the whole picture if it shows less than LEAST of them.

    It moves continuously with the probabilities, so that different hardware gives almost equal frames.

    Args:
        lungs: See Lungs.
        width: Columns of the picture.
        height: Rows of the picture.
        margin: How much longer than the lungs the sides are, as a share, at least 0.
    """
    weight = np.maximum(lungs.astype(np.float64) - LUNG, 0)
    (left, right), (top, bottom) = (0.0, 1.0), (0.0, 1.0)
    if (lungs >= LUNG).mean() >= LEAST:
        left, right = _ends(weight.sum(axis=0))
        top, bottom = _ends(weight.sum(axis=1))
    half = (1 + margin) / 2 * max((right - left) * width, (bottom - top) * height)
    x, y = (left + right) / 2 * width, (top + bottom) / 2 * height
    return Frame(x - half, y - half, x + half, y + half)


def _ends(weights: NDArray[np.float64]) -> tuple[float, float]:
    """Return where weights along an axis begin and end, as shares of it."""
    passed = np.append(0, np.cumsum(weights)) / weights.sum()
    edges = np.linspace(0, 1, len(passed))
    first = max(0, int(np.searchsorted(passed, _STRAY)) - 1)
    last = int(np.searchsorted(passed, 1 - _STRAY))
    low = edges[first] + (edges[1] - edges[0]) * (_STRAY - passed[first]) / (passed[first + 1] - passed[first])
    high = edges[last] - (edges[1] - edges[0]) * (passed[last] - (1 - _STRAY)) / (passed[last] - passed[last - 1])
    return float(low), float(high)


def cut(grey: Grey, frame: Frame, width: int, height: int) -> Grey:
    """Resize a part of a picture (antialiased bilinear): uint8, shape (height, width), black beyond its edge."""
    rows, columns = grey.shape
    left, top = max(0, -int(np.floor(frame.left))), max(0, -int(np.floor(frame.top)))
    beyond = ((top, max(0, int(np.ceil(frame.bottom)) - rows)), (left, max(0, int(np.ceil(frame.right)) - columns)))
    picture = Image.fromarray(np.pad(grey, beyond) if any(map(any, beyond)) else grey)
    box = (frame.left + left, frame.top + top, frame.right + left, frame.bottom + top)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
