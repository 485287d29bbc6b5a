"""Drawn images other than X-rays, which the gate learns to decline; the collections contain none."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from covidcxr.images.grey import Grey

Generator = np.random.Generator

SIDES = (240, 720)
"""Smallest and largest side in pixels."""
WORDS = ("Total", "patient", "x", "report 2020", "of the", "0.5 mg", "Abstract", "OK", "a longer line of text", "MENU")


def non_xrays(count: int, *, seed: int) -> list[Grey]:
    """Draw images, every kind equally often.

    Args:
        count: Number of images.
        seed: Seed of the whole list.

    Returns:
        uint8 arrays of various shapes.
    """
    kinds = list(KINDS.values())
    rngs = np.random.default_rng(seed).spawn(count)
    return [kinds[index % len(kinds)](rng) for index, rng in enumerate(rngs)]


def document(rng: Generator) -> Grey:
    """Draw a page of text, dark on light or light on dark."""
    image = Image.new("L", _size(rng), int(rng.integers(200, 256)))
    draw = ImageDraw.Draw(image)
    margin, step = int(rng.integers(5, 60)), int(rng.integers(11, 40))
    for y in range(margin, image.height - margin, step):
        if rng.random() < 0.9:
            text = " ".join(rng.choice(WORDS, int(rng.integers(1, 20))))
            draw.text((margin, y), text, fill=int(rng.integers(0, 90)), font_size=step * 0.8)
    grey = np.asarray(image)
    return grey if rng.random() < 0.7 else 255 - grey


def layout(rng: Generator) -> Grey:
    """Draw boxes, lines and words, like the window of a program."""
    image = Image.new("L", _size(rng), int(rng.integers(0, 256)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 30))):
        box = _box(rng, image)
        draw.rectangle(box, fill=int(rng.integers(0, 256)), outline=int(rng.integers(0, 256)))
        draw.text(box[:2], str(rng.choice(WORDS)), fill=int(rng.integers(0, 256)), font_size=int(rng.integers(9, 40)))
    return np.asarray(image)


def shapes(rng: Generator) -> Grey:
    """Draw ellipses, polygons and lines, sharp or blurred, on a plain background."""
    image = Image.new("L", _size(rng), int(rng.integers(0, 256)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 25))):
        grey = int(rng.integers(0, 256))
        points = [(float(x), float(y)) for x, y in rng.random((int(rng.integers(3, 7)), 2)) * image.size]
        match int(rng.integers(3)):
            case 0:
                draw.ellipse(_box(rng, image), fill=grey)
            case 1:
                draw.polygon(points, fill=grey)
            case _:
                draw.line(points, fill=grey, width=int(rng.integers(1, 20)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(float(rng.choice([0, 0, 2, 10])))))


def noise(rng: Generator) -> Grey:
    """Draw noise of one grain size, from single pixels to clouds."""
    width, height = _size(rng)
    grain = 2 ** rng.uniform(0, 7)
    coarse = rng.integers(0, 256, (int(height / grain) + 2, int(width / grain) + 2), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def gradient(rng: Generator) -> Grey:
    """Draw a linear or radial gradient, single or in waves."""
    x, y = _grid(rng)
    way = np.hypot(x - rng.random(), y - rng.random()) if rng.random() < 0.5 else x * rng.normal() + y * rng.normal()
    return _to_grey(np.cos(way * rng.uniform(1, 60)) if rng.random() < 0.5 else way)


def scene(rng: Generator) -> Grey:
    """Draw clouds of all grain sizes, like landscapes and surfaces, with objects in front."""
    x, y = _grid(rng)
    height, width = x.shape
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height)))
    spectrum = np.fft.fft2(rng.normal(size=x.shape)) / (frequency + 1 / width) ** rng.uniform(0.8, 1.8)
    clouds = _to_grey(np.fft.ifft2(spectrum).real + rng.normal() * 0.3 * y)
    image = Image.fromarray(clouds)
    for _ in range(int(rng.integers(0, 8))):
        patch = Image.new("L", image.size, 0)
        ImageDraw.Draw(patch).ellipse(_box(rng, image), fill=int(rng.integers(80, 256)))
        image.paste(Image.fromarray(np.roll(clouds, int(rng.integers(width)), 1) // 2), mask=patch)
    return np.asarray(image)


def plot(rng: Generator) -> Grey:
    """Draw curves or bars in a frame."""
    image = Image.new("L", _size(rng), 255)
    draw = ImageDraw.Draw(image)
    width, height = image.size
    draw.rectangle((30, 20, width - 20, height - 30), outline=0)
    for _ in range(int(rng.integers(1, 5))):
        values = np.cumsum(rng.normal(size=60)) if rng.random() < 0.5 else rng.random(int(rng.integers(3, 20)))
        ys = height - 30 - (values - values.min()) / (np.ptp(values) + 1e-9) * (height - 60)
        xs = np.linspace(30, width - 20, len(ys))
        if len(ys) == 60:
            draw.line(list(zip(xs, ys, strict=True)), fill=int(rng.integers(0, 180)), width=int(rng.integers(1, 5)))
        else:
            for left, top in zip(xs, ys, strict=True):
                draw.rectangle((left, top, left + width / 40, height - 30), fill=int(rng.integers(0, 200)))
    return np.asarray(image)


KINDS: dict[str, Callable[[Generator], Grey]] = {
    "document": document,
    "layout": layout,
    "shapes": shapes,
    "noise": noise,
    "gradient": gradient,
    "scene": scene,
    "plot": plot,
}
"""Name of each kind to the function that draws one."""


def _size(rng: Generator) -> tuple[int, int]:
    width, height = rng.integers(*SIDES, 2)
    return int(width), int(height)


def _grid(rng: Generator) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], ...]:
    """Return x and y of every pixel as shares of the width and height: float64, shape (height, width) each."""
    width, height = _size(rng)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return x, y


def _box(rng: Generator, image: Image.Image) -> tuple[float, float, float, float]:
    left, right = np.sort(rng.random(2)) * image.width
    top, bottom = np.sort(rng.random(2)) * image.height
    return float(left), float(top), float(right), float(bottom)


def _to_grey(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Grey:
    scaled: Grey = np.rint((values - values.min()) / (np.ptp(values) + 1e-9) * 255).astype(np.uint8)
    return scaled
