import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from covidcxr.images.decode import decode_image, read_image
from support.dicom_objects import DEEP, GREY, decode, dicom, difference, encapsulated, gdcm_uid, recode, write
from support.uploads import picture

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
