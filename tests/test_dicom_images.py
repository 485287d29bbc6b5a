import io
import random
import struct
import time
import tracemalloc

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from covidcxr.errors import ImageError
from covidcxr.images import decode_image, read_image
from covidcxr.phantom import radiograph

GREY = radiograph(np.random.default_rng(0), size=(192, 160))
DEEP = GREY.astype(np.uint16) * 16  # 12 bits


def dicom(stored, *, syntax=ExplicitVRLittleEndian, bits=None, **elements):
    """A computed radiograph of these stored values; ``elements`` overrides any element, None deletes it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid(entropy_srcs=["test"])
    ds.Modality = "CR"
    ds.Rows, ds.Columns = stored.shape[:2]
    ds.SamplesPerPixel = 1 if stored.ndim == 2 else 3
    ds.PhotometricInterpretation = "MONOCHROME2" if stored.ndim == 2 else "RGB"
    if stored.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = 8 * stored.itemsize
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.PixelData = stored.tobytes()
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def write(ds):
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def decode(ds):
    return decode_image(write(ds), "test.dcm")


def difference(grey, expected):
    assert grey.shape == expected.shape
    assert grey.dtype == np.uint8
    return np.abs(grey.astype(int) - expected).max()


def lookup_table(entries, first, bits, vr="OW"):
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    entries = np.asarray(entries, dtype="<u2")
    item.add_new("LUTData", vr, entries.tolist() if vr == "US" else entries.tobytes())
    return [item]


# What the numbers mean.


def test_eight_bits_without_a_window_are_shown_as_they_are():
    assert difference(decode(dicom(GREY)), GREY) == 0


def test_monochrome1_is_inverted():
    for stored, most in ((GREY, 255), (DEEP, 4095)):
        bits = most.bit_length()
        inverse = dicom(most - stored, bits=bits, PhotometricInterpretation="MONOCHROME1")
        assert difference(decode(inverse), decode(dicom(stored, bits=bits))) <= 1


def test_twelve_bits_without_a_window_are_shown_between_percentiles():
    stored = DEEP.copy()
    stored[0, 0] = 4095
    grey = decode(dicom(stored, bits=12))
    low, high = np.percentile(stored, (0.1, 99.9))
    assert difference(grey, np.clip((stored - low) / (high - low), 0, 1) * 255) <= 2


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
def test_window(function):
    centre, width = 2000.0, 1500.0
    x = DEEP.astype(float)
    expected = {
        "LINEAR": np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1),
        "LINEAR_EXACT": np.clip((x - centre) / width + 0.5, 0, 1),
        "SIGMOID": 1 / (1 + np.exp(-4 * (x - centre) / width)),
    }[function or "LINEAR"]  # PS3.3 C.11.2.1.2 and C.11.2.1.3
    ds = dicom(DEEP, bits=12, WindowCenter=centre, WindowWidth=width)
    if function:
        ds.VOILUTFunction = function
    assert difference(decode(ds), expected * 255) <= 1


def test_window_applies_to_rescaled_values():
    plain = dicom(DEEP, bits=12, WindowCenter=2000, WindowWidth=1500)
    rescaled = dicom(DEEP, bits=12, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=2976, WindowWidth=3000)
    assert difference(decode(rescaled), decode(plain)) <= 1


def test_a_negative_slope_inverts():
    ds = dicom(255 - GREY, RescaleSlope=-1, RescaleIntercept=255)
    assert difference(decode(ds), GREY) == 0


def test_the_first_of_several_windows_counts():
    several = dicom(DEEP, bits=12, WindowCenter=[2000, 40], WindowWidth=[1500, 80])
    assert difference(decode(several), decode(dicom(DEEP, bits=12, WindowCenter=2000, WindowWidth=1500))) == 0


@pytest.mark.parametrize("window", [(2000, 0), ("", ""), (None, 1500), (2000, -5)])
def test_an_impossible_window_counts_as_none(window):
    elements = dict(zip(("WindowCenter", "WindowWidth"), window, strict=True))
    ds = dicom(DEEP, bits=12, **{keyword: value for keyword, value in elements.items() if value is not None})
    assert difference(decode(ds), decode(dicom(DEEP, bits=12))) == 0


@pytest.mark.parametrize("vr", ["OW", "US"])
@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (12, 16), (16, 257)])
def test_voi_lut_goes_before_the_window(bits, scale, vr):
    curve = np.rint(255 * (np.arange(4096) / 4095) ** 2) * scale
    ds = dicom(DEEP, bits=12, WindowCenter=10, WindowWidth=20, VOILUTSequence=lookup_table(curve, 0, bits, vr))
    assert difference(decode(ds), curve[DEEP] / scale) <= 1


def test_voi_lut_of_bytes():
    table = lookup_table([], 0, 8)
    table[0].LUTDescriptor, table[0].LUTData = [256, 0, 8], bytes(range(255, -1, -1))
    assert difference(decode(dicom(GREY, VOILUTSequence=table)), 255 - GREY) == 0


def test_voi_lut_clips_outside_its_table():
    table = np.arange(0, 1000)
    grey = decode(dicom(DEEP, bits=12, VOILUTSequence=lookup_table(table, 1500, 16)))
    assert difference(grey, np.clip((DEEP.astype(int) - 1500) / 999, 0, 1) * 255) <= 1


def test_voi_lut_applies_to_rescaled_values():
    table = np.arange(0, 4096)
    ds = dicom(DEEP, bits=12, RescaleSlope=1, RescaleIntercept=0, VOILUTSequence=lookup_table(table, 0, 16))
    assert difference(decode(ds), DEEP * (255 / 4095)) <= 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_modality_lut(syntax):
    table = 4095 - np.arange(4096)  # film density to transmission
    elements = {"ModalityLUTSequence": lookup_table(table, 0, 16), "WindowCenter": 2048, "WindowWidth": 4096}
    grey = decode(dicom(DEEP, bits=12, syntax=syntax, **elements))
    assert difference(grey, (4095 - DEEP.astype(int)) * (255 / 4095)) <= 1


def test_signed_pixels():
    signed = dicom(DEEP.astype(np.int16) - 2048, bits=12, RescaleSlope=1, RescaleIntercept=2048)
    signed.WindowCenter, signed.WindowWidth = 2000, 1500
    assert difference(decode(signed), decode(dicom(DEEP, bits=12, WindowCenter=2000, WindowWidth=1500))) == 0
    bytes_signed = dicom((GREY.astype(int) - 128).astype(np.int8))
    assert difference(decode(bytes_signed), GREY) == 0


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("padding", "limit"), [(0, None), (4095, None), (0, 15), (4000, 4095)])
def test_padding_is_black_and_does_not_count(photometric, padding, limit):
    stored = np.clip(DEEP, 800, 3000)
    padded = stored.copy()
    padded[:, :30] = padding
    padded[:, :10] = limit or padding
    elements = {"PhotometricInterpretation": photometric, "PixelPaddingValue": padding}
    if limit is not None:
        elements["PixelPaddingRangeLimit"] = limit
    grey = decode(dicom(padded, bits=12, **elements))
    assert (grey[:, :30] == 0).all()
    inside = decode(dicom(np.ascontiguousarray(stored[:, 30:]), bits=12, PhotometricInterpretation=photometric))
    assert difference(grey[:, 30:], inside) <= 1


def test_signed_padding():
    stored = DEEP.astype(np.int16) - 2048
    stored[:, :30] = -2000
    assert (decode(dicom(stored, PixelPaddingValue=-2000))[:, :30] == 0).all()


def test_colour_becomes_luminance():
    colour = np.stack([GREY, GREY // 2, 255 - GREY], axis=-1)
    expected = colour @ np.array([0.299, 0.587, 0.114])
    assert difference(decode(dicom(colour)), expected) <= 1
    planes = dicom(colour, PlanarConfiguration=1)
    planes.PixelData = np.ascontiguousarray(np.moveaxis(colour, -1, 0)).tobytes()
    assert difference(decode(planes), expected) <= 1


def test_palette():
    table = {"Red": np.arange(256) * 257, "Green": np.zeros(256), "Blue": np.full(256, 65535)}
    ds = dicom(GREY, PhotometricInterpretation="PALETTE COLOR")
    for colour, entries in table.items():
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", entries.astype("<u2").tobytes())
    assert difference(decode(ds), 0.299 * GREY + 0.114 * 255) <= 1


# Transfer syntaxes.

GDCM_SYNTAXES = {
    "JPEGBaselineProcess1": 3,
    "JPEGExtendedProcess2_4": 3,
    "JPEGLosslessProcess14": 0,
    "JPEGLosslessProcess14_1": 0,
    "JPEGLSLossless": 0,
    "JPEGLSNearLossless": 0,
    "JPEG2000Lossless": 0,
    "JPEG2000": 0,
    "RLELossless": 0,
    "ExplicitVRBigEndian": 0,
    "DeflatedExplicitVRLittleEndian": 0,
}
STORED = {
    "8 bit": (GREY, 8),
    "12 bit": (DEEP, 12),
    "12 bit signed": (DEEP.astype(np.int16) - 2048, 12),
    "16 bit": (GREY.astype(np.uint16) * 257, 16),
    "colour": (np.stack([GREY, GREY[::-1], GREY], axis=-1), 8),
}


def recode(ds, folder, syntax):
    """Let GDCM write the object in another transfer syntax."""
    source, target = folder / "source.dcm", folder / "target.dcm"
    source.write_bytes(write(ds))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        (kind, syntax)
        for kind in STORED
        for syntax in GDCM_SYNTAXES
        if kind == "8 bit" or syntax not in ("JPEGBaselineProcess1", "JPEGExtendedProcess2_4")
    ],
)
def test_compressed_equals_uncompressed(kind, syntax, tmp_path):
    stored, bits = STORED[kind]
    ds = dicom(stored, bits=bits)
    path = recode(ds, tmp_path, syntax)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == gdcm_uid(syntax)
    assert difference(read_image(path), decode(ds)) <= GDCM_SYNTAXES[syntax]


def gdcm_uid(syntax):
    return gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)).GetString()


def encapsulated(stored, frame, syntax, **elements):
    ds = dicom(stored, **elements)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    return ds


def picture(values, form, **options):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form, **options)
    return buffer.getvalue()


def test_frames_of_other_encoders():
    jpeg = encapsulated(GREY, picture(GREY, "JPEG", quality=95), JPEGBaseline8Bit)
    assert difference(decode(jpeg), GREY) <= 12
    for values in (GREY, DEEP):
        wrapped = encapsulated(values, picture(values, "JPEG2000"), JPEG2000Lossless, bits=8 * values.itemsize)
        assert difference(decode(wrapped), decode(dicom(values))) == 0
    rle = dicom(DEEP, bits=12)
    rle.compress(RLELossless, encoding_plugin="pydicom")
    assert difference(decode(rle), decode(dicom(DEEP, bits=12))) == 0
    colour = np.stack([GREY, GREY[::-1], GREY], axis=-1)
    ybr = encapsulated(colour, picture(colour, "JPEG", quality=95), JPEGBaseline8Bit)
    ybr.PhotometricInterpretation = "YBR_FULL_422"
    assert difference(decode(ybr), decode(dicom(colour))) <= 30


def test_deflated():
    assert difference(decode(dicom(GREY, syntax=DeflatedExplicitVRLittleEndian)), GREY) == 0


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_data_set_without_file_header(syntax):
    data = write(dicom(GREY, syntax=syntax))
    bare = data[data.index(b"\x08\x00\x16\x00") :]
    assert difference(decode_image(bare, "bare"), GREY) == 0


@pytest.mark.filterwarnings("ignore:The pixel data is 31720 bytes long")
def test_bytes_behind_the_pixels_do_no_harm():
    assert difference(decode(dicom(GREY, PixelData=GREY.tobytes() + bytes(1000))), GREY) == 0


@pytest.mark.real_data
def test_real_objects(data_root):
    upright = read_image(data_root / "dicom" / "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm")
    fake = read_image(data_root / "dicom" / "Fake_MONOHR1.dcm")  # the same pixels, declared MONOCHROME1
    assert upright.shape == (1024, 1024)
    assert upright[:60, :60].mean() < 20 < 200 < upright[600:800, 480:540].mean()  # air, spine
    assert difference(fake, 255 - upright) == 0


# Errors.


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
    monkeypatch.setattr("covidcxr.dicom_pixels.MAX_BYTES", 10_000_000)
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
