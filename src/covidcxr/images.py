"""Image files to grey arrays, and grey arrays to network inputs. The only place where either happens."""

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from covidcxr.errors import ImageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Grey = NDArray[np.uint8]
"""A decoded radiograph: uint8, shape (height, width), upright, 0 = black (air), 255 = white (bone)."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom"},
)
MAX_PIXELS = 64_000_000
"""Four times the largest computed radiography plate in common use (about 4300 x 3600 pixels)."""
MIN_SIDE = 32
"""Pixels; below this nothing of a lung can be seen."""
DISPLAY_PERCENTILES = (0.1, 99.9)
"""Grey range shown of pictures deeper than 8 bits that say nothing about their window: robust against a lead marker."""

_DEFLATED = b"1.2.840.10008.1.2.1.99"  # DICOM PS3.5 A.5
_DICOM_PREFIX = slice(128, 132)  # DICOM PS3.10 7.1
_TIFF_PHOTOMETRIC, _MIN_IS_WHITE = 262, 0  # TIFF 6.0, section 8


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a grey image becomes a network input; frozen into every model file.

    Attributes:
        size: Side of the square network input in pixels.
        crop: Share of the height and of the width that is kept, centred, in (0, 1].
        equalize: Whether the histogram of the result is equalised, so that any strictly increasing change of the grey
            values (window, gamma, exposure) leaves it almost unchanged.
    """

    size: int
    crop: float
    equalize: bool

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and self.size >= MIN_SIDE):
            raise ValueError(f"Expected a size of at least {MIN_SIDE} pixels. Received {self.size!r}.")
        if not 0 < self.crop <= 1:
            raise ValueError(f"Expected a crop in (0, 1]. Received {self.crop!r}.")

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what the network sees, as shares of the width and height."""
        margin = (1 - self.crop) / 2
        return margin, margin, 1 - margin, 1 - margin

    def __call__(self, grey: Grey) -> NDArray[np.uint8]:
        """Crop, resize (antialiased bilinear, aspect ratio not kept) and equalise.

        Args:
            grey: uint8, shape (height, width).

        Returns:
            uint8, shape (size, size).
        """
        height, width = grey.shape
        left, top, right, bottom = self.box
        box = (left * width, top * height, right * width, bottom * height)
        image = Image.fromarray(grey).resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
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
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"Expected a readable image file. Received {path}: {error.strerror}.") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> Grey:
    """Decode the bytes of an image file; see read_image.

    Args:
        data: Content of the file.
        name: What to call the file in messages.

    Returns:
        uint8, shape (height, width); see Grey.

    Raises:
        ImageError: The bytes are not a single image; the message names it and says what was expected.
    """
    if not data:
        raise ImageError(f"Expected an image. Received 0 bytes in {name}.")
    try:
        grey = _decode_dicom(data) if data[_DICOM_PREFIX] == b"DICM" else _decode_picture(data)
    except Exception as error:  # decoders of hostile bytes raise anything
        raise ImageError(
            f"Expected a PNG, JPEG, TIFF, BMP, WebP or DICOM image. Received {name}: {error or repr(error)}"
        ) from error
    if min(grey.shape) < MIN_SIDE:
        raise ImageError(
            f"Expected at least {MIN_SIDE} x {MIN_SIDE} pixels. Received {name} with {grey.shape[1]} x {grey.shape[0]}."
        )
    return grey


def _decode_picture(data: bytes) -> Grey:
    image: Image.Image
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError("the content is none of these") from error
    _check_pixels(*image.size)
    if getattr(image, "n_frames", 1) > 1:
        raise ImageError("more than one picture in the file")
    photometric = image.tag_v2.get(_TIFF_PHOTOMETRIC) if image.format == "TIFF" else None  # type: ignore[attr-defined]
    if ExifTags.Base.Orientation in image.getexif():
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float32)
        grey = _scale(values, *np.percentile(values, DISPLAY_PERCENTILES))
        return 255 - grey if photometric == _MIN_IS_WHITE else grey
    if image.has_transparency_data:
        image = Image.alpha_composite(
            Image.new("RGBA", image.size, (0, 0, 0, 255)),
            image.convert("RGBA"),
        )
    return np.asarray(image.convert("L"))


def _decode_dicom(data: bytes) -> Grey:
    """Apply modality LUT, VOI LUT or window, and photometric interpretation (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3)."""
    import pydicom
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    _check_deflated(data)
    ds = pydicom.dcmread(io.BytesIO(data))
    if "PixelData" not in ds:
        raise ImageError("a DICOM object without PixelData")
    _check_pixels(int(ds.Columns), int(ds.Rows))
    if int(ds.get("NumberOfFrames", 1) or 1) > 1:
        raise ImageError("more than one frame in the DICOM object")
    stored = pixel_array(ds)
    if ds.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        return _grey_from_colour(stored, ds)
    values = apply_voi_lut(apply_modality_lut(stored, ds), ds)
    shown = values[stored != ds.PixelPaddingValue] if "PixelPaddingValue" in ds else values
    windowed = "WindowCenter" in ds or "VOILUTSequence" in ds
    grey = _scale(values, *np.percentile(shown, (0, 100) if windowed else DISPLAY_PERCENTILES))
    return 255 - grey if ds.PhotometricInterpretation == "MONOCHROME1" else grey


def _grey_from_colour(stored: NDArray[Any], ds: "Dataset") -> Grey:
    from pydicom.pixels.processing import apply_color_lut

    if ds.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, ds)
    depth = 8 * stored.itemsize if ds.PhotometricInterpretation == "PALETTE COLOR" else int(ds.BitsStored)
    grey = stored[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    return _scale(grey, 0, 2**depth - 1)


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels, more than {MAX_PIXELS} are not decoded")


def _check_deflated(data: bytes) -> None:
    """Refuse a deflated data set that would unpack to more than an image can need (a decompression bomb)."""
    if _DEFLATED not in data[:1024]:
        return
    meta_end = 144 + int.from_bytes(data[140:144], "little")  # (0002,0000), DICOM PS3.10 table 7.1-1
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    unpacker.decompress(data[meta_end:], 4 * MAX_PIXELS)
    if unpacker.unconsumed_tail:
        raise ImageError("a deflated DICOM object that unpacks to more than any radiograph needs")


def _scale(values: NDArray[Any], low: float, high: float) -> Grey:
    """Map [low, high] linearly to 0..255 and clip; a uniform image becomes black."""
    if not np.isfinite([low, high]).all():
        raise ImageError("pixel values that are not finite numbers")
    scaled = (values.astype(np.float32) - low) * (255 / (high - low) if high > low else 0)
    grey: Grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return grey
