"""Drawn frontal chest radiographs, for tests, benchmarks and screenshots.

They are drawings, not simulations, and show no patient: every part is where a teaching drawing of a postero-anterior
radiograph has it. Exported boxes tell a test which side is up, left and bright.

Boxes are left, top, right and bottom as shares of the image's width and height. As on every frontal radiograph the
patient faces the reader: the patient's left lung and most of the heart are on the right side of the image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from covidcxr.images.grey import Grey

Box = tuple[float, float, float, float]
Point = tuple[float, float]
Layer = NDArray[np.float32]
"""float32, shape (height, width), 0..1: the share of each pixel that a part covers."""

RIGHT_LUNG: Box = (0.18, 0.25, 0.36, 0.66)
"""Inside the patient's right lung, on the image's left."""
LEFT_LUNG: Box = (0.68, 0.22, 0.83, 0.56)
"""Inside the patient's left lung, on the image's right, above and beside the heart."""
HEART: Box = (0.52, 0.56, 0.66, 0.72)
"""Inside the heart's shadow; its mirror image is in the base of the right lung, which is darker."""
SPINE: Box = (0.47, 0.20, 0.53, 0.90)
"""Inside the vertebral column."""
LIVER: Box = (0.22, 0.86, 0.40, 0.96)
"""Below the right half of the diaphragm."""
MARKERS: dict[str, Box] = {"L": (0.89, 0.03, 0.96, 0.10), "R": (0.04, 0.03, 0.11, 0.10)}
"""The side markers that can be drawn, each on its side of the patient; the letter fills its box."""

_BODY: list[Point] = [
    (0.385, -0.05), (0.385, 0.05), (0.335, 0.085), (0.20, 0.115), (0.08, 0.145), (0.00, 0.21), (-0.08, 0.40),
    (-0.02, 0.48), (0.055, 0.47), (0.075, 0.62), (0.085, 0.80), (0.08, 1.00), (0.08, 1.30),
    (0.92, 1.30), (0.92, 1.00), (0.915, 0.80), (0.925, 0.62), (0.945, 0.47), (1.02, 0.48), (1.08, 0.40),
    (1.00, 0.21), (0.92, 0.145), (0.80, 0.115), (0.665, 0.085), (0.615, 0.05), (0.615, -0.05),
]  # fmt: skip
_LUNG_RIGHT: list[Point] = [
    (0.375, 0.105), (0.30, 0.15), (0.235, 0.24), (0.18, 0.36), (0.142, 0.50), (0.122, 0.64), (0.112, 0.775),
    (0.118, 0.815), (0.16, 0.765), (0.23, 0.725), (0.31, 0.715), (0.39, 0.74), (0.445, 0.775),
    (0.45, 0.68), (0.455, 0.50), (0.452, 0.34), (0.445, 0.22), (0.43, 0.135),
]  # fmt: skip
_LUNG_LEFT: list[Point] = [
    (0.625, 0.105), (0.70, 0.15), (0.765, 0.24), (0.82, 0.36), (0.858, 0.50), (0.878, 0.64), (0.888, 0.80),
    (0.882, 0.84), (0.84, 0.79), (0.77, 0.755), (0.69, 0.75), (0.61, 0.775), (0.55, 0.80),
    (0.55, 0.68), (0.545, 0.50), (0.548, 0.34), (0.555, 0.22), (0.57, 0.135),
]  # fmt: skip
_HEART: list[Point] = [
    (0.445, 0.47), (0.425, 0.56), (0.418, 0.65), (0.435, 0.735), (0.48, 0.79), (0.58, 0.81), (0.68, 0.805),
    (0.728, 0.775), (0.735, 0.72), (0.715, 0.64), (0.67, 0.555), (0.615, 0.485), (0.56, 0.43), (0.50, 0.41),
]  # fmt: skip
_MEDIASTINUM: list[Point] = [
    (0.435, -0.05), (0.44, 0.12), (0.445, 0.24), (0.452, 0.36), (0.445, 0.50), (0.44, 0.80),
    (0.56, 0.80), (0.575, 0.50), (0.567, 0.40), (0.583, 0.355), (0.592, 0.315), (0.580, 0.275), (0.558, 0.24),
    (0.56, 0.12), (0.565, -0.05),
]  # fmt: skip
_TRACHEA: list[list[Point]] = [
    [(0.497, -0.05), (0.497, 0.10), (0.495, 0.24), (0.492, 0.33)],
    [(0.492, 0.32), (0.47, 0.365), (0.445, 0.40)],
    [(0.492, 0.32), (0.525, 0.36), (0.565, 0.395)],
]
_STOMACH_BUBBLE: list[Point] = [(0.64, 0.83), (0.69, 0.805), (0.745, 0.82), (0.755, 0.855), (0.70, 0.87), (0.65, 0.865)]
_CLAVICLE: list[Point] = [(0.475, 0.205), (0.43, 0.182), (0.35, 0.155), (0.25, 0.148), (0.17, 0.150), (0.11, 0.165)]
_SCAPULA: list[Point] = [(0.10, 0.19), (0.17, 0.20), (0.215, 0.26), (0.175, 0.40), (0.145, 0.47), (0.12, 0.36)]
_HUMERUS: list[Point] = [(-0.02, 0.20), (0.05, 0.175), (0.085, 0.205), (0.07, 0.25), (0.03, 0.30), (-0.06, 0.40)]


@dataclass(frozen=True, kw_only=True)
class Opacity:
    """A soft bright patch, such as a ground-glass opacity.

    Attributes:
        x: Centre as a share of the width.
        y: Centre as a share of the height.
        radius: Distance from the centre, as a share of the width, at which the patch fades to a seventh.
        strength: Grey added at the centre as a share of the full range, in (0, 1].
    """

    x: float
    y: float
    radius: float
    strength: float = 0.4

    def __post_init__(self) -> None:
        if not (0 <= self.x <= 1 and 0 <= self.y <= 1 and self.radius > 0 and 0 < self.strength <= 1):
            raise ValueError(f"Expected x and y in 0..1, a radius above 0 and a strength in (0, 1]. Received {self}.")


def radiograph(
    rng: np.random.Generator,
    *,
    size: tuple[int, int] = (480, 400),
    opacities: Sequence[Opacity] = (),
    marker: str | None = "L",
    noise: float = 0.012,
) -> Grey:
    """Draw a frontal chest radiograph.

    Args:
        rng: Random generator of the lung vessels, the exposure (a few percent) and the noise; the anatomy is fixed.
        size: Height and width in pixels, at least 64 each.
        opacities: Bright patches to add.
        marker: Side marker, a key of MARKERS; None draws none.
        noise: Standard deviation of the grain as a share of the full grey range.

    Returns:
        uint8, shape ``size``, upright; the same arguments and state of ``rng`` give the same image.

    Raises:
        ValueError: A size below 64 pixels or a marker that is not in MARKERS.

    Example:
        >>> spot = Opacity(x=0.25, y=0.6, radius=0.1)
        >>> radiograph(np.random.default_rng(0), size=(480, 400), opacities=[spot]).shape
        (480, 400)
    """
    if min(size) < 64:
        raise ValueError(f"Expected a size of at least 64 x 64 pixels. Received {size}.")
    if marker is not None and marker not in MARKERS:
        raise ValueError(f"Expected a marker of {', '.join(MARKERS)} or None. Received {marker!r}.")
    pen = _Pen(size)
    values = _soft_tissue(pen) + _vessels(pen, rng) + _bones(pen)
    for opacity in opacities:
        values += opacity.strength * _patch(pen, opacity)
    values = values * rng.uniform(0.96, 1.04) + noise * _grain(pen, rng)
    if marker is not None:
        values = np.maximum(values, 0.97 * _letter(pen, marker))
    grey: Grey = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return grey


class _Pen:
    """Draws soft-edged shapes, in shares of the image, on empty layers of one size."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.height, self.width = size

    def area(self, outline: Sequence[Point], soft: float) -> Layer:
        """Fill the smooth closed curve through the points; ``soft``: standard deviation of the edge, share of width."""
        image, draw = self._canvas()
        draw.polygon(self._pixels(_smooth([outline[-1], *outline, *outline[:2]])), fill=255)
        return self._layer(image, soft)

    def lines(self, strokes: Iterable[tuple[Sequence[Point], float, float]], soft: float) -> Layer:
        """Draw smooth open curves, each with its width (share of the image's) and strength (0..1)."""
        image, draw = self._canvas()
        for points, width, strength in strokes:
            path = self._pixels(_smooth([points[0], *points, points[-1]]))
            draw.line(path, fill=round(255 * strength), width=max(1, round(width * self.width)), joint="curve")
        return self._layer(image, soft)

    def grid(self) -> tuple[Layer, Layer]:
        """Return x, shape (1, width), and y, shape (height, 1), of the pixel centres in shares."""
        x: Layer = ((np.arange(self.width) + 0.5) / self.width).astype(np.float32)
        y: Layer = ((np.arange(self.height) + 0.5) / self.height).astype(np.float32)
        return x[np.newaxis, :], y[:, np.newaxis]

    def _canvas(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        image = Image.new("L", (self.width, self.height))
        return image, ImageDraw.Draw(image)

    def _pixels(self, points: Iterable[Point]) -> list[Point]:
        return [(x * self.width, y * self.height) for x, y in points]

    def _layer(self, image: Image.Image, soft: float) -> Layer:
        blurred = image.filter(ImageFilter.GaussianBlur(soft * self.width))
        return np.asarray(blurred, dtype=np.float32) / np.float32(255)


def _smooth(points: Sequence[Point], steps: int = 8) -> list[Point]:
    """Catmull-Rom spline through all points except the first and the last, which only set directions."""
    p = np.asarray(points, dtype=float)
    t = (np.arange(steps) / steps)[:, np.newaxis]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return [(float(x), float(y)) for x, y in [*np.concatenate(pieces), p[-2]]]


def _mirror(points: Sequence[Point]) -> list[Point]:
    return [(1 - x, y) for x, y in points]


def _soft_tissue(pen: _Pen) -> Layer:
    """Air, body, lungs, heart, great vessels, trachea, stomach."""
    x, y = pen.grid()
    body = pen.area(_BODY, 0.006)
    thickness = 0.50 + 0.16 * np.clip((y - 0.62) / 0.25, 0, 1) - 0.10 * np.exp(-(((y - 0.13) / 0.10) ** 2))
    heart = np.maximum(pen.area(_HEART, 0.008), 0.75 * pen.area(_MEDIASTINUM, 0.008))
    lungs = np.maximum(pen.area(_LUNG_RIGHT, 0.005), pen.area(_LUNG_LEFT, 0.005))
    aerated = 0.36 + 0.07 * np.exp(-(((y - 0.30) / 0.2) ** 2)) - 0.10 * ((x - 0.5) / 0.4) ** 2
    values = 0.02 + body * thickness - lungs * aerated * (1 - 0.86 * heart)
    values += 0.07 * heart * np.clip((0.80 - y) / 0.06, 0, 1) - 0.13 * pen.lines(
        [(line, 0.035, 1.0) for line in _TRACHEA], 0.006
    )
    values -= 0.22 * pen.area(_STOMACH_BUBBLE, 0.008)
    return np.asarray(values, dtype=np.float32)


def _vessels(pen: _Pen, rng: np.random.Generator) -> Layer:
    """The hila and the vessels that branch from them, thinner outwards, clipped to the lungs."""
    strokes: list[tuple[Sequence[Point], float, float]] = []
    for centre, side, lung in (((0.425, 0.44), -1, _LUNG_RIGHT), ((0.595, 0.42), 1, _LUNG_LEFT)):
        reach = 0.9 * abs(lung[4][0] - centre[0])
        for angle in np.linspace(-1.2, 1.2, 8) + rng.normal(0, 0.09, 8):
            strokes += _branch(rng, centre, float(angle), side, reach * (1 - 0.15 * np.sin(angle)), 0.013, 3)
    lungs = np.maximum(pen.area(_LUNG_RIGHT, 0.01), pen.area(_LUNG_LEFT, 0.01))
    x, y = pen.grid()
    hila = sum(np.exp(-(((x - cx) / 0.045) ** 2) - ((y - cy) / 0.06) ** 2) for cx, cy in ((0.41, 0.45), (0.605, 0.43)))
    return np.asarray(lungs * (0.15 * pen.lines(strokes, 0.004) + 0.13 * hila), dtype=np.float32)


def _branch(
    rng: np.random.Generator, start: Point, angle: float, side: int, length: float, width: float, depth: int
) -> list[tuple[Sequence[Point], float, float]]:
    """Return a vessel and its branches; ``angle`` in radians from the horizontal, downwards positive."""
    bend = angle + rng.normal(0, 0.12)
    step = length * 0.45
    middle = (start[0] + side * step / 2 * np.cos(angle), start[1] + step / 2 * np.sin(angle))
    end = (middle[0] + side * step / 2 * np.cos(bend), middle[1] + step / 2 * np.sin(bend))
    strokes: list[tuple[Sequence[Point], float, float]] = [((start, middle, end), width, 0.25 + 0.25 * depth)]
    if depth:
        for turn in (-0.35, 0.3):
            strokes += _branch(
                rng, end, bend + turn + rng.normal(0, 0.08), side, length * 0.66, width * 0.62, depth - 1
            )
    return strokes


def _bones(pen: _Pen) -> Layer:
    """Ribs, spine, clavicles, shoulder blades and the heads of the upper arms."""
    values = _ribs(pen) + 0.06 * _spine(pen)
    for side in (lambda points: points, _mirror):
        collar = side(_CLAVICLE)
        values += 0.13 * pen.lines([(collar, 0.032, 1.0)], 0.003) - 0.06 * pen.lines([(collar, 0.016, 1.0)], 0.003)
        values += 0.05 * pen.area(side(_SCAPULA), 0.006) + 0.11 * pen.area(side(_HUMERUS), 0.006)
    return np.asarray(values * pen.area(_BODY, 0.006), dtype=np.float32)


def _ribs(pen: _Pen) -> Layer:
    """Ten pairs of ribs: the back part sinks slightly outwards, the front part, fainter, steeply inwards."""
    back: list[tuple[Sequence[Point], float, float]] = []
    front: list[tuple[Sequence[Point], float, float]] = []
    for number in range(10):
        top = 0.155 + 0.066 * number
        wall = 0.5 - min(0.225 + 0.052 * number, 0.375 + 0.004 * number)
        arch = [(0.46, top), (0.40, top - 0.022), (0.30, top - 0.014), (wall + 0.035, top + 0.035), (wall, top + 0.085)]
        back += [(arch, 0.026, 1.0), (_mirror(arch), 0.026, 1.0)]
        if 1 <= number <= 6:
            sweep = [(wall, top + 0.085), (wall + 0.035, top + 0.155), (0.32, top + 0.205), (0.385, top + 0.215)]
            front += [(sweep, 0.028, 1.0), (_mirror(sweep), 0.028, 1.0)]
    edge = [(points, width * 0.45, 1.0) for points, width, _ in back]
    values = 0.11 * pen.lines(back, 0.003) - 0.04 * pen.lines(edge, 0.003) + 0.05 * pen.lines(front, 0.004)
    return np.asarray(values, dtype=np.float32)


def _spine(pen: _Pen) -> Layer:
    """Vertebral bodies with the darker discs between them."""
    x, y = pen.grid()
    column = np.exp(-(((x - 0.5) / 0.042) ** 6))
    discs = 0.5 + 0.5 * np.tanh(4 * (np.cos(2 * np.pi * y / 0.062) + 0.55))
    return np.asarray(column * (0.35 + 0.65 * discs), dtype=np.float32)


def _patch(pen: _Pen, opacity: Opacity) -> Layer:
    x, y = pen.grid()
    aspect = pen.height / pen.width
    distance = ((x - opacity.x) ** 2 + ((y - opacity.y) * aspect) ** 2) / opacity.radius**2
    return np.asarray(np.exp(-2 * distance), dtype=np.float32)


def _grain(pen: _Pen, rng: np.random.Generator) -> Layer:
    return rng.standard_normal((pen.height, pen.width), dtype=np.float32)


def _letter(pen: _Pen, marker: str) -> Layer:
    """The marker's letter, stretched to fill its box."""
    font = ImageFont.load_default(size=96)
    box = font.getbbox(marker)
    glyph = Image.new("L", (round(box[2] - box[0]), round(box[3] - box[1])))
    ImageDraw.Draw(glyph).text((-box[0], -box[1]), marker, fill=255, font=font)
    left, top, right, bottom = MARKERS[marker]
    size = (round((right - left) * pen.width), round((bottom - top) * pen.height))
    canvas = Image.new("L", (pen.width, pen.height))
    canvas.paste(glyph.resize(size, Image.Resampling.LANCZOS), (round(left * pen.width), round(top * pen.height)))
    return np.asarray(canvas, dtype=np.float32) / np.float32(255)
