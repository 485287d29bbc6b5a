"""Decode DICOM objects into grey arrays. Importing this module imports pydicom, so others import it on demand.

Grey values go through the transformations of DICOM PS3.3 in this order: modality (C.11.1), VOI (C.11.2), photometric
interpretation (C.7.6.3.1.2). Each maps one stored value to one grey value, so they are computed once for every possible
stored value, not for every pixel.
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

_COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})  # all RGB after decoding
_GDCM_SYNTAXES = frozenset({JPEGLossless, JPEGLosslessSV1, *JPEGLSTransferSyntaxes})
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # ITU-T T.81 table B.1, T.87 annex C.1.1
_BLOCK = 2**17  # pixels at a time; their indices fit into the cache of a core
_MAX_INFLATED = 2 * MAX_PIXELS + 2**24  # the largest 16-bit image, and a header with overlays or tables
_DEFLATED_AT_ONCE = 2**13  # bytes; they unpack to at most a thousand times as many
_JPEG_2000_START = b"\xff\x4f\xff\x51"  # SOC and SIZ, ITU-T T.800 table A.2


def decode_dicom(data: bytes) -> Grey:
    """Decode a DICOM object that holds one image.

    Args:
        data: Content of the file, with or without the PS3.10 header; uncompressed, deflated, RLE, JPEG (baseline,
            extended, lossless), JPEG-LS or JPEG 2000.

    Returns:
        uint8, shape (Rows, Columns); see covidcxr.images.grey.Grey. Pixels of PixelPaddingValue are black.

    Raises:
        ImageError: No image, more than one, or one of an unsupported size.
        Exception: Any exception of pydicom and the decoders on bytes that violate the standard.
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
    """Rejects a deflated data set that unpacks to more than _MAX_INFLATED: a decompression bomb.

    pydicom reads to the end of a file only to inflate everything at once.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        rest = super().read(size)
        if size is None or size < 0:
            unpacker, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
            for start in range(0, len(rest), _DEFLATED_AT_ONCE):
                unpacked += len(unpacker.decompress(rest[start : start + _DEFLATED_AT_ONCE]))
                if unpacked > _MAX_INFLATED:
                    raise ImageError("a deflated DICOM object that unpacks to more than a radiograph needs")
        return rest


def _set_transfer_syntax(ds: Dataset) -> None:
    """Set the transfer syntax that pydicom guessed, if the file has no header that names it."""
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit = ds.original_encoding[0]
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def _stored_values(ds: Dataset) -> NDArray[Any]:
    """Return the stored pixels, shape (Rows, Columns) or (Rows, Columns, SamplesPerPixel), colours as RGB."""
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
    """Reject an RLE frame (PS3.5 annex G) that is longer than its image can need, and would unpack to far more."""
    pixels = int(ds.Columns) * int(ds.Rows) * int(ds.SamplesPerPixel) * int(ds.BitsAllocated) // 8
    if len(frame) > 2 * pixels + 64:
        raise ImageError("an RLE frame twice as long as the image it encodes")


def _check_jpeg(frame: bytes, ds: Dataset) -> int:
    """Reject a frame of another size than its data set, or with too many scans, before it is decoded.

    Returns:
        Bits per sample of the frame.
    """
    read = _jpeg_2000_header if ds.file_meta.TransferSyntaxUID in JPEG2000TransferSyntaxes else _jpeg_header
    *size, precision = read(frame)
    expected = [int(ds.Columns), int(ds.Rows), int(ds.SamplesPerPixel)]
    if size != expected:
        raise ImageError(f"a frame of columns, rows, samples {size} in an object of {expected}")
    check_scans(frame)
    return precision


def _jpeg_2000_header(frame: bytes) -> tuple[int, int, int, int]:
    """Return width, height, components and precision from the SIZ segment (ITU-T T.800 A.5.1)."""
    start = frame.find(_JPEG_2000_START, 0, 1024)  # a JP2 file header may precede it, against PS3.5 A.4.4
    if start < 0:
        raise ImageError("a compressed frame without a JPEG 2000 header")
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    components, precision = struct.unpack_from(">HB", frame, start + 40)
    return right - left, bottom - top, components, (precision & 0x7F) + 1


def _jpeg_header(frame: bytes) -> tuple[int, int, int, int]:
    """Return width, height, components and precision from the frame header (ITU-T T.81 B.2.2)."""
    position = 2
    while position + 10 <= len(frame) and frame[position] == 0xFF:
        if frame[position + 1] == 0xFF:  # fill byte
            position += 1
            continue
        length, precision, height, width, components = struct.unpack_from(">HBHHB", frame, position + 2)
        if frame[position + 1] in _JPEG_FRAMES:
            return width, height, components, precision
        position += 2 + length
    raise ImageError("a compressed frame without a JPEG header")


def _grey_from_monochrome(stored: NDArray[Any], ds: Dataset) -> Grey:
    if stored.ndim != 2:
        raise ImageError(f"a monochrome image of shape {stored.shape}")
    levels, indices = _levels(stored, ds)
    padding = _is_padding(levels, ds)
    values = _apply_modality(levels, ds)
    shown = _apply_voi(values, ds)
    if shown is not None:
        table = to_grey(shown, 0, 1)
    elif ds.BitsStored <= 8:
        table = to_grey(values, float(values.min()), float(values.max()))
    else:
        table = to_grey(values, *percentiles_of(values, np.where(padding, 0, _counts(indices, len(levels)))))
    if ds.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    table[padding] = 0
    grey = np.empty(stored.shape, np.uint8)
    for rows, index in indices:
        grey[rows] = table[index]
    return grey


@dataclass(frozen=True)
class _Indices:
    """The index of every pixel's value among the levels, some rows at a time.

    NumPy indexes and counts with 64-bit integers and converts other types at each call: for a whole image that is eight
    bytes a pixel, and two more passes over memory.

    Attributes:
        values: Shape (height, width).
        first: Value with index 0; the next higher one has index 1.
    """

    values: NDArray[np.integer]
    first: int

    def __iter__(self) -> Iterator[tuple[slice, NDArray[np.intp]]]:
        """Yield rows and their indices, shape (rows, width)."""
        height, width = self.values.shape
        step = max(1, _BLOCK // width)
        for start in range(0, height, step):
            rows = slice(start, start + step)
            yield rows, self.values[rows].astype(np.intp) - self.first


def _counts(indices: _Indices, levels: int) -> NDArray[np.integer]:
    """Return how many pixels have each level."""
    counts = np.zeros(levels, np.int64)
    for _, index in indices:
        counts += np.bincount(index.ravel(), minlength=levels)
    return counts


def _levels(stored: NDArray[Any], ds: Dataset) -> tuple[Values, _Indices]:
    """Return the possible stored values, ascending, and the index of every pixel's value among them."""
    bits = int(ds.BitsStored)
    least = -(2 ** (bits - 1)) if ds.PixelRepresentation else 0
    low, high = min(least, int(stored.min())), max(least + 2**bits - 1, int(stored.max()))
    if high - low >= 2**17:  # deeper than 16 bits: not a radiograph, but readable
        levels, index = np.unique(stored, return_inverse=True)
        return levels.astype(np.float64), _Indices(index.reshape(stored.shape), 0)
    return np.arange(low, high + 1, dtype=np.float64), _Indices(stored, low)


def _is_padding(levels: Values, ds: Dataset) -> NDArray[np.bool_]:
    """Return which stored values are padding, not image (C.7.5.1.1.2)."""
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
    """Apply the first VOI LUT or window; return values in 0..1, or None if there is no valid one."""
    if ds.get("VOILUTSequence"):
        table = lut_data(ds.VOILUTSequence[0], ds)
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
    """Return the first of one or many numbers; NaN if there are none."""
    numbers = np.array(float("nan") if value is None else value, dtype=np.float64).ravel()
    return float(numbers[0]) if numbers.size else float("nan")


def _apply_lut(values: Values, item: Dataset, ds: Dataset) -> Values:
    """Look values up (C.11.1.1, C.11.2.1.1); values beyond the table get its first or last entry."""
    table = lut_data(item, ds)
    index = np.clip(np.rint(values - int(item.LUTDescriptor[1])), 0, len(table) - 1)
    return table[index.astype(np.intp)]


def lut_data(item: Dataset, ds: Dataset) -> Values:
    """Return the entries of a lookup table, float64, in stored order (C.11.1.1.1, C.11.2.1.1).

    Args:
        item: Item of ModalityLUTSequence or VOILUTSequence.
        ds: Data set that holds the item.

    Raises:
        ImageError: The table is empty.
    """
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
