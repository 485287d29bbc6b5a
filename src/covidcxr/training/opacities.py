"""Synthetic opacities: patches of whitened lung, drawn into a radiograph to resemble pneumonia.

A radiograph and its copy differ in the lungs only, not in scanner, age, view or hospital. The difference of a network's
features between the two is therefore evidence of disease that owes nothing to the collection.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from covidcxr.images.grey import Grey

Field = NDArray[np.float32]

PATCHES = (2, 8)
"""Number of patches, upper end excluded."""
RADII = (0.05, 0.20)
"""Standard deviation of a patch as a share of the width of both lungs."""
STRETCH = (0.6, 1.6)
"""Ratio of the axes of a patch."""
OPACITY = (0.35, 0.85)
"""Blend at the densest point: 0 keeps the grey value, 1 turns it into WHITE."""
WHITE = (0.8, 1.0)
"""Grey value of a consolidation as a share of that of dense tissue in the image."""
TEXTURE = ((4, 1.0), (8, 0.6), (16, 0.4), (40, 0.3), (80, 0.2))
"""Cells per side and weight of the random fields that give the patches texture."""
ROUGHNESS = 0.25
"""Strength of the texture."""
SOFT_EDGE = 1.6
"""Standard deviation, in pixels of the lung mask, of the blur of its border."""
LUNG, BODY = 0.5, 0.2
"""Probability of lung above which a pixel counts as lung, and below which it does not."""
LEAST_LUNG = 80
"""Smallest lung, in pixels of the mask, into which opacities are drawn."""


def with_opacities(grey: Grey, lungs: Field, rng: np.random.Generator) -> Grey:
    """Draw random opacities into the lungs, most of them low and peripheral, as in COVID-19.

    Args:
        grey: uint8, shape (height, width).
        lungs: Probability of lung, 0..1, of the whole image squeezed to a square: float32, shape (n, n).
        rng: Source of all randomness.

    Returns:
        The image with opacities, nowhere darker; the unchanged image if less than LEAST_LUNG was found.
    """
    rows, columns = np.nonzero(lungs > LUNG)
    if len(rows) < LEAST_LUNG:
        return grey
    density = _patches(rows, columns, len(lungs), rng) * (1 + ROUGHNESS * _texture(len(lungs), rng))
    mask = np.asarray(_image(255 * lungs).convert("L").filter(ImageFilter.GaussianBlur(SOFT_EDGE)), np.float32) / 255
    opacity: Field = (rng.uniform(*OPACITY) * np.clip(density, 0, 1) * mask).astype(np.float32)
    values = grey.astype(np.float32)
    white = rng.uniform(*WHITE) * _dense_tissue(values, lungs)
    opaque = values + _at(opacity, grey.shape) * np.maximum(white - values, 0)
    result: Grey = np.clip(np.rint(opaque), 0, 255).astype(np.uint8)
    return result


def _patches(rows: NDArray[np.intp], columns: NDArray[np.intp], size: int, rng: np.random.Generator) -> Field:
    """Return the pixelwise maximum of random Gaussian patches: float32, shape (size, size), 0..1."""
    width = columns.max() + 1 - columns.min()
    lower = (rows - rows.min()) / (rows.max() + 1 - rows.min())
    outer = np.abs(columns - np.median(columns)) / width
    likely = np.exp(1.5 * lower) * (0.4 + 2 * outer)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    field = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(*PATCHES)):
        centre = rng.choice(len(rows), p=likely / likely.sum())
        dx, dy = x - columns[centre], y - rows[centre]
        angle, stretch, radius = rng.uniform(0, np.pi), rng.uniform(*STRETCH), width * rng.uniform(*RADII)
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        patch = np.exp(-(stretch * along**2 + across**2 / stretch) / (2 * radius**2))
        field = np.maximum(field, rng.uniform(0.5, 1) * patch)
    return field


def _texture(size: int, rng: np.random.Generator) -> Field:
    fields = [
        weight * np.asarray(_image(rng.normal(size=(cells, cells))).resize((size, size), Image.Resampling.BICUBIC))
        for cells, weight in TEXTURE
    ]
    return np.asarray(np.sum(fields, axis=0), np.float32)


def _dense_tissue(values: Field, lungs: Field) -> float:
    """Estimate the grey value of a fluid-filled lung from the brightest lung and from most of the tissue around it."""
    inside = _at(lungs, values.shape)
    parts = ((values[inside > LUNG], 0.95), (values[inside < BODY], 0.6))  # small lungs may vanish when resized

    return max((float(np.quantile(part, share)) for part, share in parts if part.size), default=float(values.max()))


def _at(field: Field, shape: tuple[int, ...]) -> Field:
    return np.asarray(_image(field).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _image(field: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(field.astype(np.float32))
