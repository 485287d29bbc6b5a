"""Synthetic opacities: the same radiograph with patches of whitened lung, as a pneumonia makes them.

Nothing but the lung differs between a radiograph and its copy: no scanner, age, view or hospital. What a network's
features do between the two is therefore evidence of disease that no collection can fake.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from covidcxr.images.grey import Grey

Field = NDArray[np.float32]

PATCHES = (2, 8)
"""Number of patches, the end excluded."""
RADII = (0.05, 0.20)
"""Standard deviation of a patch as a share of the width of both lungs."""
STRETCH = (0.6, 1.6)
"""Ratio of a patch's axes."""
OPACITY = (0.35, 0.85)
"""How far the densest place goes from what it was to WHITE."""
WHITE = (0.8, 1.0)
"""Grey value of a consolidation as a share of what the dense tissue in the picture shows."""
TEXTURE = ((4, 1.0), (8, 0.6), (16, 0.4), (40, 0.3), (80, 0.2))
"""Cells a side and weight of the random fields that roughen the patches."""
ROUGHNESS = 0.25
SOFT_EDGE = 1.6
"""Pixels of the lung mask by which its border is blurred."""
LUNG, BODY = 0.5, 0.2
"""Probabilities of lung above which a place is lung, and below which it is not."""
LEAST_LUNG = 80
"""Pixels of lung in the mask below which there is nothing to work on."""


def with_opacities(grey: Grey, lungs: Field, rng: np.random.Generator) -> Grey:
    """Draw random opacities into the lungs, more of them below and outside, where COVID-19 has most of its own.

    Args:
        grey: uint8, shape (height, width).
        lungs: float32, shape (n, n), 0..1, probability of lung over the whole picture squeezed to a square.
        rng: Source of all randomness.

    Returns:
        The picture with them, nowhere darker; the same picture where hardly any lung is found.
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
    """Return the largest of some Gaussian patches at every place: float32, shape (size, size), 0..1."""
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
    """Return the grey value that a lung full of fluid would have: that of the bright places in it or most around it."""
    inside = _at(lungs, values.shape)
    parts = ((values[inside > LUNG], 0.95), (values[inside < BODY], 0.6))  # specks of lung may be lost at another size
    return max((float(np.quantile(part, share)) for part, share in parts if part.size), default=float(values.max()))


def _at(field: Field, shape: tuple[int, ...]) -> Field:
    return np.asarray(_image(field).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _image(field: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(field.astype(np.float32))
