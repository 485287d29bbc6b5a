import random
import struct
import time
import tracemalloc

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from covidcxr.errors import ImageError
from covidcxr.images.decode import decode_image
from support.dicom_objects import DEEP, GREY, decode, dicom, encapsulated, gdcm_uid, lookup_table, recode, write
from support.uploads import picture


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"NumberOfFrames": 2, "PixelData": GREY.tobytes() * 2}, "more than one frame"),
        ({"PixelData": None}, "without PixelData"),
        ({"Rows": None}, "Rows"),
        ({"PixelData": GREY.tobytes()[:1000]}, "."),
        ({"PixelData": b""}, "."),
        ({"Rows": 60_000, "Columns": 60_000}, "more than 64000000"),
        ({"Rows": 31}, "less than 32"),
        ({"PhotometricInterpretation": "HSV"}, "HSV"),
        ({"PhotometricInterpretation": "RGB"}, "shape"),
        ({"SamplesPerPixel": 3}, "."),
        ({"BitsAllocated": 7}, "."),
        ({"VOILUTSequence": lookup_table([], 0, 8)}, "."),
    ],
)
def test_what_is_no_single_image_is_refused(elements, reason):
    with pytest.raises(ImageError, match=rf"Received test\.dcm: (?s:.*){reason}"):
        decode(dicom(GREY, **elements))


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"])
def test_a_cut_frame_is_refused(syntax, tmp_path):
    ds = pydicom.dcmread(recode(dicom(DEEP, bits=12), tmp_path, syntax))
    frame = next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1))
    for share in (0.0, 0.01, 0.5):
        ds.PixelData = encapsulate([frame[: 2 * int(share * len(frame) / 2)] or b"\x00\x00"])
        with pytest.raises(ImageError):
            decode(ds)


def spend(data, reason):
    """Check that the bytes are refused, and return the seconds and the peak of bytes that it took."""
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(ImageError, match=reason):
        decode_image(data, "bomb")
    took, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return took, peak


def test_a_deflated_bomb_is_refused_fast(monkeypatch):
    monkeypatch.setattr("covidcxr.images.dicom._MAX_INFLATED", 10_000_000)
    bomb = write(dicom(GREY, syntax=DeflatedExplicitVRLittleEndian, PixelData=bytes(60_000_000)))
    assert len(bomb) < 300_000
    took, peak = spend(bomb, "unpacks to more")
    assert took < 1
    assert peak < 30_000_000


def jpeg_of(width, height, marker, components=1):
    """The header of a JPEG frame that says this size, and nothing behind it."""
    parts = b"".join(bytes([number, 0x11, 0]) for number in range(1, components + 1))
    head = struct.pack(">HBHHB", 8 + 3 * components, 8, height, width, components)
    return b"\xff\xd8\xff" + bytes([marker]) + head + parts + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + bytes(200)


def jpeg_2000_of(width, height):
    whole = picture(GREY, "JPEG2000", no_jp2=True)
    return whole[:8] + struct.pack(">IIII", width, height, 0, 0) + struct.pack(">II", width, height) + whole[32:]


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        ("JPEGBaselineProcess1", jpeg_of(65_000, 65_000, 0xC0)),
        ("JPEGLosslessProcess14_1", jpeg_of(65_000, 65_000, 0xC3)),
        ("JPEGLSLossless", jpeg_of(65_000, 65_000, 0xF7)),
        ("JPEGBaselineProcess1", jpeg_of(160, 192, 0xC0, components=3)),
        ("JPEG2000Lossless", jpeg_2000_of(1_000_000, 1_000_000)),
        ("JPEG2000Lossless", jpeg_2000_of(161, 192)),
    ],
)
def test_a_frame_of_another_size_is_refused_before_it_is_decoded(syntax, frame):
    took, peak = spend(write(encapsulated(GREY, frame, pydicom.uid.UID(gdcm_uid(syntax)))), "in an object of")
    assert took < 1
    assert peak < 5_000_000


def test_an_rle_bomb_is_refused():
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 1_000_000
    assert spend(write(encapsulated(GREY, frame, RLELossless)), "RLE")[1] < 20_000_000


@pytest.mark.filterwarnings("ignore")  # as for a user: a warning about a broken file is not what stops it
@pytest.mark.parametrize(
    ("syntax", "times"),
    [
        ("ExplicitVRLittleEndian", 200),
        ("DeflatedExplicitVRLittleEndian", 60),
        ("RLELossless", 100),
        ("JPEGBaselineProcess1", 100),
        ("JPEG2000Lossless", 100),
        ("JPEGLosslessProcess14_1", 20),
        ("JPEGLSLossless", 20),
    ],
)
def test_mutated_objects_give_an_image_or_an_image_error(syntax, times, tmp_path):
    table = lookup_table(np.arange(256), 0, 8)
    ds = dicom(np.ascontiguousarray(GREY[::2, ::2]), PixelPaddingValue=0, VOILUTSequence=table)
    original = recode(ds, tmp_path, syntax).read_bytes()
    refused = 0
    for seed in range(times):
        data = mutate(original, seed)
        start = time.perf_counter()
        try:
            grey = decode_image(data, f"seed {seed}")
            assert grey.dtype == np.uint8
            assert grey.ndim == 2
        except ImageError:
            refused += 1
        assert time.perf_counter() - start < 5
    assert refused > times / 20


def mutate(data, seed):
    """Overwrite some bytes behind the prefix, or cut the end off."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chance.choice([1, 2, 8, 30])):
        changed[chance.randrange(132, chance.choice([1200, len(changed)]))] = chance.randrange(256)
    if chance.random() < 0.2:
        del changed[chance.randrange(132, len(changed)) :]
    return bytes(changed)
