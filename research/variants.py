"""Variants of a radiograph for experiments.py: preprocessing, synthetic opacities, style."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from covidcxr.data.manifest import Record
from covidcxr.images.decode import read_image
from covidcxr.images.grey import Grey
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.prediction.lungs import LungSegmenter, box
from covidcxr.training.opacities import Field, with_opacities

Change = Callable[[Grey, Field, np.random.Generator], Grey]
"""``change(grey, lungs, rng)``: ``lungs`` are probabilities, see covidcxr.training.opacities.with_opacities."""

SEED = 0
SIZE = 224
MARGIN = 0.08
"""Margin around the box of the lungs, as a share of its width and height."""
STYLED = 320
"""Side in pixels at which a style is drawn, so that strengths in pixels mean the same for every image."""


@dataclass(frozen=True)
class Variant:
    """A way to make network inputs.

    Attributes:
        name: Name of its files.
        preprocessing: The last step.
        pools: How features are pooled, keys of features.POOLS.
        change: Applied to the decoded image before.
    """

    name: str
    preprocessing: Preprocessing
    pools: tuple[str, ...] = ("lungs",)
    change: Change = lambda grey, lungs, rng: grey


def to_lungs(grey: Grey, lungs: Field, rng: np.random.Generator) -> Grey:
    """Crop an image to the box around the lungs."""
    height, width = grey.shape
    left, top, right, bottom = box(lungs >= 0.5, MARGIN)
    return grey[int(top * height) : int(np.ceil(bottom * height)), int(left * width) : int(np.ceil(right * width))]


def in_another_style(grey: Grey, lungs: Field, rng: np.random.Generator) -> Grey:
    """Change everything that tells collections apart, as another scanner and another positioning might.

    Returns:
        uint8, shape (STYLED, STYLED).
    """
    image = Image.fromarray(grey).resize((STYLED, STYLED), Image.Resampling.BILINEAR)
    image = _compressed(_sharper_or_softer(_moved(image, rng), rng), rng)
    light = (np.asarray(image, np.float32) / 255) ** np.exp(rng.uniform(-0.6, 0.6))
    return _windowed(_lit(light, rng), rng)


def _moved(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Mirror, turn by up to 10 degrees, stretch by up to 18 % and shift by up to 6 %."""
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    angle, middle = np.deg2rad(rng.uniform(-10, 10)), STYLED / 2
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix /= rng.uniform(0.82, 1.18, (2, 1))
    shift = middle - matrix @ [middle, middle] + rng.uniform(-0.06, 0.06, 2) * STYLED
    coefficients = np.column_stack([matrix, shift]).ravel().tolist()
    return image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


def _sharper_or_softer(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Lower the resolution, blur, sharpen, or do nothing."""
    way = rng.integers(4)
    if way == 0:
        side = int(rng.integers(90, 224))
        return image.resize((side, side), Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BICUBIC)
    if way == 1:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2.5)))
    if way == 2:
        return image.filter(ImageFilter.UnsharpMask(rng.uniform(1, 6), int(rng.uniform(50, 250)), 0))
    return image


def _compressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    if rng.random() >= 0.4:
        return image
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(10, 80)))
    return Image.open(buffer)


def _lit(light: Field, rng: np.random.Generator) -> Field:
    """Sometimes light unevenly, sometimes level out as scanners do, sometimes add noise. Values around 0..1."""
    if rng.random() < 0.7:
        uneven = Image.fromarray(rng.normal(0, 0.25, (3, 3)).astype(np.float32))
        light = light * np.exp(np.asarray(uneven.resize((STYLED, STYLED), Image.Resampling.BICUBIC)))
    if rng.random() < 0.4:
        coarse = Image.fromarray(_to_bytes(light)).filter(ImageFilter.GaussianBlur(rng.uniform(15, 50)))
        light = light - rng.uniform(0.2, 0.7) * (np.asarray(coarse, np.float32) / 255 - 0.5)
    if rng.random() < 0.4:
        light = light + rng.normal(0, rng.uniform(0.01, 0.06), light.shape)
    return light.astype(np.float32)


def _windowed(light: Field, rng: np.random.Generator) -> Grey:
    """Show the range between two quantiles, up to 5 % from either end."""
    low, high = np.quantile(light, [rng.uniform(0, 0.05), 1 - rng.uniform(0, 0.05)])
    return _to_bytes((light - low) / max(high - low, 1e-3))


def _to_bytes(light: NDArray[np.floating]) -> Grey:
    return np.clip(255 * light, 0, 255).astype(np.uint8)


ALIKE = Preprocessing(size=SIZE, crop=0.8, equalize=True, blur=1.5)
"""As in the recipe ``default``."""


def _like(*, crop: float = 0.8, equalize: bool = True, blur: float = 1.5, size: int = SIZE) -> Preprocessing:
    """Change parts of ALIKE. The blur is in pixels of an image of SIZE and scales with the size."""
    return Preprocessing(size=size, crop=crop, equalize=equalize, blur=blur * size / SIZE)


SMALLER = (192, 160)
"""Sides in pixels that would need less computation."""

VARIANTS = (
    Variant("as-published", _like(crop=1.0, equalize=False, blur=0.0), ("whole",)),
    Variant("default", ALIKE, ("whole", "lungs", "outside", "spread")),
    Variant("opaque", ALIKE, change=with_opacities),
    Variant("styled", ALIKE, ("whole",), change=in_another_style),
    Variant("lung-box", _like(crop=1.0), ("whole",), change=to_lungs),
    Variant("blur-0", _like(blur=0.0)),
    Variant("blur-3", _like(blur=3.0)),
    Variant("not-equalised", _like(equalize=False)),
    Variant("opaque-not-equalised", _like(equalize=False), change=with_opacities),
    Variant("crop-1.0", _like(crop=1.0)),
    Variant("crop-0.7", _like(crop=0.7)),
    *(Variant(f"size-{size}", _like(size=size)) for size in SMALLER),
    *(Variant(f"opaque-size-{size}", _like(size=size), change=with_opacities) for size in SMALLER),
)


def images_of(record: Record, variants: tuple[Variant, ...], segmenter: LungSegmenter) -> dict[str, NDArray[np.uint8]]:
    """Decode an image once and make its network inputs: uint8, shape (size, size), by name of the variant.

    Each is a function of SEED and the record's id.
    """
    grey = read_image(record.path)
    lungs = segmenter.probabilities([grey])[0]
    return {
        variant.name: variant.preprocessing(
            variant.change(grey, lungs, np.random.default_rng([SEED, *record.id.encode()]))
        )
        for variant in variants
    }
