"""Image files to grey arrays, and grey arrays to network inputs. The only place where either happens."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFilter, ImageOps, UnidentifiedImageError

from covidcxr.errors import ImageError

Grey = NDArray[np.uint8]
"""A decoded radiograph: uint8, shape (height, width), upright, 0 = black (air), 255 = white (bone)."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom"},
)
MAX_PIXELS = 64_000_000
"""Four times the largest computed radiography plate in common use (about 4300 x 3600 pixels)."""
MAX_DEEP_PIXELS = MAX_PIXELS // 4
"""Of what takes many times its pixels in memory: 32 bits a pixel, and WebP, whose decoder keeps several canvases."""
MAX_BYTES = 8 * MAX_PIXELS
"""Largest file that is read: MAX_PIXELS of three 16-bit channels, uncompressed, with room to spare."""
MIN_SIDE = 32
"""Pixels; below this nothing of a lung can be seen."""
MAX_JPEG_SCANS = 100
"""Scans of a progressive JPEG, each of which costs a pass over all pixels; encoders write about ten."""
DISPLAY_PERCENTILES = (0.1, 99.9)
"""Grey range shown of pictures deeper than 8 bits that say nothing about their window: robust against a lead marker."""

_DICOM_PREFIX = slice(128, 132)  # DICOM PS3.10 section 7.1
_DICOM_GROUPS = (b"\x02\x00", b"\x08\x00")  # how a data set without that header starts
_JPEG_SCAN = b"\xff\xda"  # marker SOS, ITU-T T.81 table B.1
_STRIP = 2**20  # pixels at a time where numbers take many times what the picture does
_TIFF_PHOTOMETRIC, _MIN_IS_WHITE = 262, 0  # TIFF 6.0, section 8


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a grey image becomes a network input; frozen into every model file.

    Attributes:
        size: Side of the square network input in pixels.
        crop: Share of the height and of the width that is kept, centred, in (0, 1].
        equalize: Whether the histogram of the result is equalised, so that any strictly increasing change of the grey
            values (window, gamma, exposure) leaves it almost unchanged.
        blur: Standard deviation in network pixels of a Gaussian blur before that, at least 0; 0 leaves it out. It takes
            away what resampling, compression and sharpening put into a picture, in training as in serving.
    """

    size: int
    crop: float
    equalize: bool
    blur: float = 0.0

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and self.size >= MIN_SIDE):
            raise ValueError(f"Expected a size of at least {MIN_SIDE} pixels. Received {self.size!r}.")
        if not 0 < self.crop <= 1:
            raise ValueError(f"Expected a crop in (0, 1]. Received {self.crop!r}.")
        if not self.blur >= 0:
            raise ValueError(f"Expected a blur of at least 0. Received {self.blur!r}.")

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what the network sees, as shares of the width and height."""
        margin = (1 - self.crop) / 2
        return margin, margin, 1 - margin, 1 - margin

    def __call__(self, grey: Grey) -> NDArray[np.uint8]:
        """Crop, resize (antialiased bilinear, aspect ratio not kept), blur and equalise.

        Args:
            grey: uint8, shape (height, width).

        Returns:
            uint8, shape (size, size).
        """
        height, width = grey.shape
        left, top, right, bottom = self.box
        box = (left * width, top * height, right * width, bottom * height)
        image = Image.fromarray(grey).resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        if self.blur:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        return np.asarray(ImageOps.equalize(image) if self.equalize else image)


def read_image(path: Path) -> Grey:
    """Decode an image file.

    Args:
        path: PNG, JPEG, TIFF, BMP, WebP or DICOM file, told by content, not by name.

    Returns:
        uint8, shape (height, width); see Grey.

    Raises:
        ImageError: The file cannot be read or is not a single image; the message names it.
    """
    return decode_image(read_bytes(path, str(path)), str(path))


def read_bytes(path: Path, name: str) -> bytes:
    """Read an image file: no more of it than decode_image needs to see that it is too large.

    Args:
        path: The file.
        name: What to call it in messages.

    Raises:
        ImageError: The file cannot be read; the message names it.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImageError(f"Expected a readable image file. Received {name}: {error.strerror}.") from error


def decode_image(data: bytes, name: str) -> Grey:
    """Decode the bytes of an image file; see read_image.

    Pictures deeper than 8 bits are shown between DISPLAY_PERCENTILES of their values; DICOM objects as their modality
    and VOI transformations and their photometric interpretation say. Transparent pixels lie over black.

    Args:
        data: Content of the file.
        name: What to call the file in messages.

    Returns:
        uint8, shape (height, width); see Grey.

    Raises:
        ImageError: The bytes are not a single image; the message names it and says what was expected.
    """
    try:
        if not data:
            raise ImageError("0 bytes")
        if len(data) > MAX_BYTES:
            raise ImageError(f"more than {MAX_BYTES} bytes")
        return _decode_dicom(data) if is_dicom(data) else _decode_picture(data)
    except Exception as error:  # decoders of hostile bytes raise anything
        reason = str(error) or repr(error)
        raise ImageError(
            f"Expected a PNG, JPEG, TIFF, BMP, WebP or DICOM image. Received {name}: {reason.rstrip('.')}."
        ) from error


def is_dicom(data: bytes) -> bool:
    """Tell by the first 132 bytes or more whether a file is a DICOM object, with or without the header of PS3.10."""
    return data[_DICOM_PREFIX] == b"DICM" or data[:2] in _DICOM_GROUPS


def check_size(width: int, height: int) -> None:
    """Refuse sizes in pixels that are too small to show a lung or too large to decode.

    Raises:
        ImageError: A side is shorter than MIN_SIDE, or there are more than MAX_PIXELS.
    """
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels, less than {MIN_SIDE} x {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels, more than {MAX_PIXELS} are not decoded")


def check_scans(jpeg: bytes) -> None:
    """Refuse a progressive JPEG of so many scans that a small file takes hours to decode.

    Raises:
        ImageError: It has more than MAX_JPEG_SCANS.
    """
    if jpeg.count(_JPEG_SCAN) > MAX_JPEG_SCANS:
        raise ImageError(f"a JPEG of more than {MAX_JPEG_SCANS} scans")


def percentiles_of(levels: NDArray[np.float64], counts: NDArray[np.integer]) -> tuple[float, float]:
    """Return DISPLAY_PERCENTILES of values that occur so many times each; both arrays of shape (n,)."""
    order = np.argsort(levels)
    share = np.cumsum(counts[order]) / max(int(counts.sum()), 1)
    low, high = np.searchsorted(share, np.array(DISPLAY_PERCENTILES) / 100)
    last = len(order) - 1
    return float(levels[order[min(low, last)]]), float(levels[order[min(high, last)]])


def to_grey(values: NDArray[Any], low: float, high: float) -> Grey:
    """Map [low, high] linearly to 0..255 and clip; a uniform image (high not above low) becomes black."""
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low) if high > low else 0)
    grey: Grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return grey


def _decode_dicom(data: bytes) -> Grey:
    from covidcxr.dicom_pixels import decode_dicom  # pydicom costs 0.1 s, which pictures need not pay

    return decode_dicom(data)


def _decode_picture(data: bytes) -> Grey:
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError("the content is none of these") from error
    check_size(*image.size)
    _check_single(image)
    if image.format == "WEBP":
        _check_deep(image, "WebP")
    tiles = image.tile  # type: ignore[attr-defined]
    deep_colour = not image.mode.startswith("I") and any(";16" in str(tile.args) for tile in tiles)
    if image.info.get("progressive"):
        check_scans(data)
    white = image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _MIN_IS_WHITE  # type: ignore[attr-defined]
    if ExifTags.Base.Orientation in image.getexif():
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _grey_from_sixteen_bits(image, inverted=white)
    if image.mode.startswith(("I", "F")):
        grey = _grey_from_deep(image)
        return 255 - grey if white else grey
    if image.has_transparency_data:
        grey = _grey_over_black(image)
    else:
        grey = np.asarray(image if image.mode == "L" else image.convert("L"))
    if deep_colour and grey.max() < 128:  # Pillow has taken the upper eight bits of each channel
        raise ImageError("16 bits a channel of which the upper ones are empty, which is read as a grey picture only")
    return grey


def _check_single(image: Image.Image) -> None:
    """Refuse animations and documents of several pages; the further pictures of an MPO are previews or depth maps."""
    if image.format == "MPO":
        return
    try:
        image.seek(1)
    except EOFError:
        return
    raise ImageError("more than one picture in the file")


def _check_deep(image: Image.Image, kind: str) -> None:
    if image.width * image.height > MAX_DEEP_PIXELS:
        size = f"{image.width} x {image.height} pixels of {kind}"
        raise ImageError(f"{size}, more than {MAX_DEEP_PIXELS} are not decoded")


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Cut a picture into strips; gives the rows of each and the strip."""
    step = max(1, _STRIP // image.width)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _grey_from_sixteen_bits(image: Image.Image, *, inverted: bool) -> Grey:
    counts, levels = np.zeros(2**16, np.int64), np.arange(2**16, dtype=np.float64)
    for _, strip in _strips(image):
        counts += np.bincount(np.asarray(strip).ravel(), minlength=2**16)
    table = to_grey(levels, *percentiles_of(levels, counts))
    if inverted:
        table = 255 - table
    grey = np.empty((image.height, image.width), np.uint8)
    for rows, strip in _strips(image):
        grey[rows] = table[np.asarray(strip)]
    return grey


def _grey_over_black(image: Image.Image) -> Grey:
    grey = np.empty((image.height, image.width), np.uint8)
    for rows, strip in _strips(image):
        black = Image.new("RGBA", strip.size, (0, 0, 0, 255))
        grey[rows] = np.asarray(Image.alpha_composite(black, strip.convert("RGBA")).convert("L"))
    return grey


def _grey_from_deep(image: Image.Image) -> Grey:
    _check_deep(image, "32 bits")
    values = np.asarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ImageError("pixel values that are not finite numbers")
    low, high = np.percentile(values, DISPLAY_PERCENTILES)
    return to_grey(values, float(low), float(high))
