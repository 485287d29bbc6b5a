"""Draw an activation map in colour over its radiograph."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covidcxr.images.grey import Grey
from covidcxr.prediction.colours import COLOURS, FAINT, FULL
from covidcxr.prediction.predictor import ActivationMap


def overlay(grey: Grey, activation_map: ActivationMap, *, strength: float = 0.5, max_side: int = 1024) -> Image.Image:
    """Draw an activation map over its radiograph.

    Args:
        grey: uint8, shape (height, width): the whole image that was scored.
        activation_map: Its activation map.
        strength: Opacity of the strongest places, 0 (radiograph only) to 1 (colours only).
        max_side: Longest side of the result in pixels; more of them show no more of a map of a few cells.

    Returns:
        RGB image with the aspect ratio of ``grey``.

    Raises:
        ValueError: ``strength`` is outside 0..1.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"Expected a strength of 0 to 1. Received {strength}.")
    picture = Image.fromarray(grey)
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    values = _upsample(activation_map, picture.size)[..., np.newaxis]
    opacity = strength * np.clip((values - FAINT) / (FULL - FAINT), 0, 1)
    mixed = np.asarray(picture, np.float32)[..., np.newaxis] * (1 - opacity) + _colours(values[..., 0]) * opacity
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _upsample(activation_map: ActivationMap, size: tuple[int, int]) -> NDArray[np.float32]:
    """Place the map in its box on an image of a width and height: float32, shape (height, width), 0 outside."""
    width, height = size
    rows, columns = activation_map.values.shape
    left, top, right, bottom = activation_map.box
    x0, x1 = math.ceil(left * width - 1e-6), math.floor(right * width + 1e-6)
    y0, y1 = math.ceil(top * height - 1e-6), math.floor(bottom * height + 1e-6)
    source = (
        _place(x0 / width, left, right) * columns,
        _place(y0 / height, top, bottom) * rows,
        _place(x1 / width, left, right) * columns,
        _place(y1 / height, top, bottom) * rows,
    )
    cells = Image.fromarray(activation_map.values.astype(np.float32))
    smooth = cells.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC, box=source)
    placed = np.zeros((height, width), np.float32)
    placed[y0:y1, x0:x1] = np.clip(np.asarray(smooth), 0, 1)
    return placed


def _place(share: float, low: float, high: float) -> float:
    """Convert a share of the image to a share of the box, 0..1."""
    return min(max((share - low) / (high - low), 0.0), 1.0)


def _colours(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Look values in 0..1 up in COLOURS, with linear interpolation: float32, shape (height, width, 3), 0..255."""
    table = np.array(COLOURS, np.float32)
    steps = np.linspace(0, 1, len(table))
    fine = np.stack([np.interp(np.linspace(0, 1, 256), steps, channel) for channel in table.T], axis=-1)
    return np.asarray(fine[np.rint(values * 255).astype(np.intp)], dtype=np.float32)
