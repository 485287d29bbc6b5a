"""DICOM objects to grey arrays. Importing it imports pydicom: covidcxr.images does so when such a file comes.

The grey values go through the transformations of DICOM PS3.3 in their order: modality (C.11.1), VOI (C.11.2),
photometric interpretation (C.7.6.3.1.2). All of them map one stored value to one grey value, so they are worked out
once for every stored value that can occur, not once for every pixel.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from covidcxr.errors import ImageError
from covidcxr.images.gdcm import decode_frame
from covidcxr.images.grey import LUMA, MAX_PIXELS, Grey, check_scans, check_size, percentiles_of, to_grey

Values = NDArray[np.float64]

_COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})  # all of them RGB once decoded
_GDCM_SYNTAXES = frozenset({JPEGLossless, JPEGLosslessSV1, *JPEGLSTransferSyntaxes})
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # ITU-T T.81 table B.1, T.87 annex C.1.1
_BLOCK = 2**17  # pixels at a time: their places fit into the cache of a core
_MAX_INFLATED = 2 * MAX_PIXELS + 2**24  # the largest picture of 16 bits, and a header with overlays or tables
_DEFLATED_AT_ONCE = 2**13  # bytes, which unpack to at most a thousand times as many
_JPEG_2000_START = b"\xff\x4f\xff\x51"  # SOC and SIZ, ITU-T T.800 table A.2


def decode_dicom(data: bytes) -> Grey:
    """Decode a DICOM object that holds one image.

    Args:
        data: The file, with or without the header of PS3.10; uncompressed, deflated, RLE, JPEG (baseline,
            extended, lossless), JPEG-LS or JPEG 2000.

    Returns:
        uint8, shape (Rows, Columns); see covidcxr.images.grey.Grey. Pixels of PixelPaddingValue are black.

    Raises:
        ImageError: No image, more than one, or one of a size that is not decoded.
        Exception: Whatever pydicom and the decoders raise on bytes that break the standard.
    """
    return decode_dataset(pydicom.dcmread(_BoundedFile(data), force=True))


def decode_dataset(ds: Dataset) -> Grey:
    """Decode a DICOM data set that holds one image; see decode_dicom. The data set may be changed."""
    if "PixelData" not in ds:
        raise ImageError("a DICOM object without PixelData")
    check_size(int(ds.Columns), int(ds.Rows))
    if int(ds.get("NumberOfFrames") or 1) > 1:
        raise ImageError("more than one frame in the DICOM object")
    _set_transfer_syntax(ds)
    stored = _stored_values(ds)
    if ds.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2"):
        return _grey_from_monochrome(stored, ds)
    return _grey_from_colour(stored, ds)


class _BoundedFile(io.BytesIO):
    """Refuses a deflated data set that unpacks to more than _MAX_INFLATED: a decompression bomb.

    pydicom reads to the end of a file only to inflate what it read, all at once.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        rest = super().read(size)
        if size is None or size < 0:
            unpacker, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
            for start in range(0, len(rest), _DEFLATED_AT_ONCE):
                unpacked += len(unpacker.decompress(rest[start : start + _DEFLATED_AT_ONCE]))
                if unpacked > _MAX_INFLATED:
                    raise ImageError("a deflated DICOM object that unpacks to more than any radiograph needs")
        return rest


def _set_transfer_syntax(ds: Dataset) -> None:
    """Write down the transfer syntax that pydicom found by trying, where the file has no header to say it."""
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit = ds.original_encoding[0]
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def _stored_values(ds: Dataset) -> NDArray[Any]:
    """Return the pixels as stored, shape (Rows, Columns) or (Rows, Columns, SamplesPerPixel), colours as RGB."""
    syntax = ds.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return pixel_array(ds)
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    if syntax == RLELossless:
        _check_rle(frame, ds)
        return pixel_array(ds)
    precision = _check_jpeg(frame, ds)
    if syntax not in _GDCM_SYNTAXES and not (syntax == JPEGExtended12Bit and precision > 8):
        return pixel_array(ds, decoding_plugin="pillow")
    if syntax in JPEGLSTransferSyntaxes:
        if precision < 8:
            raise ImageError(f"JPEG-LS of {precision} bits, less than 8 are not decoded")
        ds.PlanarConfiguration = 0  # as GDCM returns it
        ds.BitsAllocated = 8 if precision == 8 else 16
    ds.PixelData = decode_frame(
        frame,
        transfer_syntax=str(syntax),
        photometric=str(ds.PhotometricInterpretation),
        size=(int(ds.Columns), int(ds.Rows), int(ds.SamplesPerPixel)),
        planar=int(ds.get("PlanarConfiguration") or 0),
        bits=(int(ds.BitsAllocated), precision if syntax in JPEGLSTransferSyntaxes else int(ds.BitsStored)),
        signed=bool(ds.PixelRepresentation),
    )
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return pixel_array(ds)


def _check_rle(frame: bytes, ds: Dataset) -> None:
    """Refuse an RLE frame (PS3.5 annex G) that is longer than its image ever needs and unpacks to many times that."""
    pixels = int(ds.Columns) * int(ds.Rows) * int(ds.SamplesPerPixel) * int(ds.BitsAllocated) // 8
    if len(frame) > 2 * pixels + 64:
        raise ImageError("an RLE frame twice as long as the image it encodes")


def _check_jpeg(frame: bytes, ds: Dataset) -> int:
    """Refuse a frame that unpacks to another size than the data set says, or in too many scans, before it is decoded.

    Returns:
        The bits per sample of the frame.
    """
    read = _jpeg_2000_header if ds.file_meta.TransferSyntaxUID in JPEG2000TransferSyntaxes else _jpeg_header
    *size, precision = read(frame)
    expected = [int(ds.Columns), int(ds.Rows), int(ds.SamplesPerPixel)]
    if size != expected:
        raise ImageError(f"a frame of columns, rows, samples {size} in an object of {expected}")
    check_scans(frame)
    return precision


def _jpeg_2000_header(frame: bytes) -> tuple[int, int, int, int]:
    """Width, height, components and precision by the SIZ segment (ITU-T T.800 A.5.1)."""
    start = frame.find(_JPEG_2000_START, 0, 1024)  # a JP2 file header may come before, against PS3.5 A.4.4
    if start < 0:
        raise ImageError("a compressed frame without a JPEG 2000 header")
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    components, precision = struct.unpack_from(">HB", frame, start + 40)
    return right - left, bottom - top, components, (precision & 0x7F) + 1


def _jpeg_header(frame: bytes) -> tuple[int, int, int, int]:
    """Width, height, components and precision by the frame header (ITU-T T.81 B.2.2)."""
    place = 2
    while place + 10 <= len(frame) and frame[place] == 0xFF:
        if frame[place + 1] == 0xFF:  # fill byte
            place += 1
            continue
        length, precision, height, width, components = struct.unpack_from(">HBHHB", frame, place + 2)
        if frame[place + 1] in _JPEG_FRAMES:
            return width, height, components, precision
        place += 2 + length
    raise ImageError("a compressed frame without a JPEG header")


def _grey_from_monochrome(stored: NDArray[Any], ds: Dataset) -> Grey:
    if stored.ndim != 2:
        raise ImageError(f"a monochrome image of shape {stored.shape}")
    levels, places = _levels(stored, ds)
    padding = _is_padding(levels, ds)
    values = _apply_modality(levels, ds)
    shown = _apply_voi(values, ds)
    if shown is not None:
        table = to_grey(shown, 0, 1)
    elif ds.BitsStored <= 8:
        table = to_grey(values, float(values.min()), float(values.max()))
    else:
        table = to_grey(values, *percentiles_of(values, np.where(padding, 0, _counts(places, len(levels)))))
    if ds.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    table[padding] = 0
    grey = np.empty(stored.shape, np.uint8)
    for rows, place in places:
        grey[rows] = table[place]
    return grey


@dataclass(frozen=True)
class _Places:
    """For every pixel the place of its value among the levels, some rows at a time.

    NumPy indexes and counts with integers of 64 bits and makes them anew from others each time: of a whole image they
    take eight bytes a pixel, and two ways through the memory.

    Attributes:
        values: Shape (height, width).
        first: The value whose place is 0; the next higher one has place 1.
    """

    values: NDArray[np.integer]
    first: int

    def __iter__(self) -> Iterator[tuple[slice, NDArray[np.intp]]]:
        """Give rows and their places, shape (rows, width)."""
        height, width = self.values.shape
        step = max(1, _BLOCK // width)
        for start in range(0, height, step):
            rows = slice(start, start + step)
            yield rows, self.values[rows].astype(np.intp) - self.first


def _counts(places: _Places, levels: int) -> NDArray[np.integer]:
    """Return how many pixels have each level."""
    counts = np.zeros(levels, np.int64)
    for _, place in places:
        counts += np.bincount(place.ravel(), minlength=levels)
    return counts


def _levels(stored: NDArray[Any], ds: Dataset) -> tuple[Values, _Places]:
    """Return the stored values that can occur, ascending, and for every pixel the place of its value among them."""
    bits = int(ds.BitsStored)
    least = -(2 ** (bits - 1)) if ds.PixelRepresentation else 0
    low, high = min(least, int(stored.min())), max(least + 2**bits - 1, int(stored.max()))
    if high - low >= 2**17:  # deeper than 16 bits: no radiograph, but readable
        levels, index = np.unique(stored, return_inverse=True)
        return levels.astype(np.float64), _Places(index.reshape(stored.shape), 0)
    return np.arange(low, high + 1, dtype=np.float64), _Places(stored, low)


def _is_padding(levels: Values, ds: Dataset) -> NDArray[np.bool_]:
    """Tell which stored values are no part of the image (C.7.5.1.1.2)."""
    first = ds.get("PixelPaddingValue")
    if first is None:
        return np.zeros(len(levels), dtype=bool)
    last = ds.get("PixelPaddingRangeLimit")
    low, high = sorted((int(first), int(first if last is None else last)))
    return (levels >= low) & (levels <= high)


def _apply_modality(levels: Values, ds: Dataset) -> Values:
    if ds.get("ModalityLUTSequence"):
        return _apply_lut(levels, ds.ModalityLUTSequence[0], ds)
    return levels * float(ds.get("RescaleSlope") or 1) + float(ds.get("RescaleIntercept") or 0)


def _apply_voi(values: Values, ds: Dataset) -> Values | None:
    """Return what the first VOI LUT or window shows as 0..1; None without a valid one."""
    if ds.get("VOILUTSequence"):
        table = _lut_data(ds.VOILUTSequence[0], ds)
        shown = _apply_lut(values, ds.VOILUTSequence[0], ds) - table.min()
        return np.asarray(shown / max(float(np.ptp(table)), 1))
    centre, width = _first(ds.get("WindowCenter")), _first(ds.get("WindowWidth"))
    function = str(ds.get("VOILUTFunction") or "LINEAR").upper()
    if not (np.isfinite(centre) and width >= (1 if function == "LINEAR" else 1e-6)):
        return None
    if function == "SIGMOID":
        return np.asarray(0.5 + 0.5 * np.tanh(2 * (values - centre) / width))  # = 1 / (1 + exp(-4 ...)), no overflow
    if function == "LINEAR":
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _first(value: object) -> float:
    """Return the first of one or many numbers, NaN without any."""
    numbers = np.array(float("nan") if value is None else value, dtype=np.float64).ravel()
    return float(numbers[0]) if numbers.size else float("nan")


def _apply_lut(values: Values, item: Dataset, ds: Dataset) -> Values:
    """Look values up (C.11.1.1, C.11.2.1.1): those below the first mapped one get the first entry, above the last."""
    table = _lut_data(item, ds)
    place = np.clip(np.rint(values - int(item.LUTDescriptor[1])), 0, len(table) - 1)
    return table[place.astype(np.intp)]


def _lut_data(item: Dataset, ds: Dataset) -> Values:
    entries = int(item.LUTDescriptor[0]) or 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        wide = ("<" if ds.original_encoding[1] else ">") + "u2"
        data = np.frombuffer(data, wide if len(data) >= 2 * entries else "u1")
    table = np.asarray(data, dtype=np.float64)[:entries]
    if len(table) == 0:
        raise ImageError("an empty lookup table")
    return table


def _grey_from_colour(stored: NDArray[Any], ds: Dataset) -> Grey:
    depth = int(ds.BitsStored)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, ds)
        depth = 8 * stored.itemsize
    elif ds.PhotometricInterpretation not in _COLOURS:
        raise ImageError(f"PhotometricInterpretation {ds.PhotometricInterpretation}")
    if stored.shape[2:] not in ((3,), (4,)):
        raise ImageError(f"a colour image of shape {stored.shape}")
    return to_grey(stored[..., :3].astype(np.float32) @ LUMA, 0, 2**depth - 1)
