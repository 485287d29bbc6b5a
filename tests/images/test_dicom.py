import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from support.dicom_objects import DEEP, GREY, decode, dicom, difference, lookup_table


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
