"""Decode the bytes of an image file into a grey array."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from covidcxr.errors import ImageError
from covidcxr.images.grey import (
    DISPLAY_PERCENTILES,
    MAX_DEEP_PIXELS,
    MAX_PIXELS,
    Grey,
    check_scans,
    check_size,
    percentiles_of,
    to_grey,
)

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom"},
)
MAX_BYTES = 8 * MAX_PIXELS
"""Largest file that is read: MAX_PIXELS in three 16-bit channels, uncompressed, and a margin."""
_DICOM_PREFIX = slice(128, 132)  # DICOM PS3.10 section 7.1
_DICOM_GROUPS = (b"\x02\x00", b"\x08\x00")  # start of a data set without that header
_STRIP = 2**20  # pixels at a time in steps that need many bytes a pixel
_TIFF_PHOTOMETRIC, _MIN_IS_WHITE = 262, 0  # TIFF 6.0, section 8


def read_image(path: Path) -> Grey:
    """Decode an image file.

    Args:
        path: PNG, JPEG, TIFF, BMP, WebP or DICOM file, recognised by content, not by name.

    Returns:
        uint8, shape (height, width); see Grey.

    Raises:
        ImageError: The file cannot be read or is not a single image; the message names it.
    """
    return decode_image(read_bytes(path, str(path)), str(path))


def read_bytes(path: Path, name: str) -> bytes:
    """Read an image file, at most one byte more than decode_image accepts.

    Args:
        path: Path of the file.
        name: Name of the file in messages.

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

    Images deeper than 8 bits are shown between DISPLAY_PERCENTILES of their values; DICOM objects by their modality and
    VOI transformations and their photometric interpretation. Transparent pixels are drawn over black.

    Args:
        data: Content of the file.
        name: Name of the file in messages.

    Returns:
        uint8, shape (height, width); see Grey.

    Raises:
        ImageError: The bytes are not a single image; the message names the file and the reason.
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
    """Return whether a file, by its first 132 bytes or more, is a DICOM object, with or without the PS3.10 header."""
    return data[_DICOM_PREFIX] == b"DICM" or data[:2] in _DICOM_GROUPS


def _decode_dicom(data: bytes) -> Grey:
    from covidcxr.images.dicom import decode_dicom  # here: pydicom costs 0.1 s

    return decode_dicom(data)


def _decode_picture(data: bytes) -> Grey:
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError("the content is none of these") from error
    check_size(*image.size)
    _check_single(image)
    if image.format == "WEBP":
        _check_deep(image.width, image.height, "WebP")
    if image.info.get("progressive"):
        check_scans(data)
    return picture_to_grey(image)


def picture_to_grey(image: Image.Image) -> Grey:
    """Convert an image that Pillow opened, in any mode; see decode_image.

    Raises:
        ImageError: Too small, too large, or of values that cannot be shown.
    """
    check_size(*image.size)
    tiles = getattr(image, "tile", [])
    deep_colour = not image.mode.startswith("I") and any(";16" in str(tile.args) for tile in tiles)
    white = image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _MIN_IS_WHITE  # type: ignore[attr-defined]
    if ExifTags.Base.Orientation in image.getexif():
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _grey_from_sixteen_bits(image, inverted=white)
    if image.mode.startswith(("I", "F")):
        grey = values_to_grey(np.asarray(image))
        return 255 - grey if white else grey
    if image.has_transparency_data:
        grey = _grey_over_black(image)
    else:
        grey = np.asarray(image if image.mode == "L" else image.convert("L"))
    if deep_colour and grey.max() < 128:  # Pillow keeps the upper eight bits of each channel
        raise ImageError("16-bit colour that uses only the lower bits, which is supported in grey images only")
    return grey


def values_to_grey(values: NDArray[Any]) -> Grey:
    """Show numbers of any type between DISPLAY_PERCENTILES of them.

    Args:
        values: Shape (height, width); larger is brighter.

    Raises:
        ImageError: Too many pixels, or values that are not finite.
    """
    _check_deep(values.shape[1], values.shape[0], "32 bits")
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError("pixel values that are not finite numbers")
    low, high = np.percentile(values, DISPLAY_PERCENTILES)
    return to_grey(values, float(low), float(high))


def _check_single(image: Image.Image) -> None:
    """Reject animations and multi-page documents; the additional images of an MPO are previews or depth maps."""
    if image.format == "MPO":
        return
    try:
        image.seek(1)
    except EOFError:
        return
    raise ImageError("more than one image in the file")


def _check_deep(width: int, height: int, kind: str) -> None:
    if width * height > MAX_DEEP_PIXELS:
        raise ImageError(f"{width} x {height} pixels of {kind}, more than {MAX_DEEP_PIXELS} are not decoded")


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Cut an image into strips; yields the rows of each and the strip."""
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
