import io
import random
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from covidcxr.errors import ImageError
from covidcxr.images import phantom
from covidcxr.images.decode import decode_image, read_image
from covidcxr.images.grey import MAX_JPEG_SCANS, MAX_PIXELS
from covidcxr.images.phantom import radiograph
from covidcxr.images.preprocessing import Preprocessing

GREY = radiograph(np.random.default_rng(0), size=(192, 160))
SCAN = b"\xff\xda"
T = Image.Transpose
# How a camera that writes this EXIF orientation has turned the picture (CIPA DC-008 4.6.5, tag 274).
TURNED = {
    1: None,
    2: T.FLIP_LEFT_RIGHT,
    3: T.ROTATE_180,
    4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE,
    6: T.ROTATE_90,
    7: T.TRANSVERSE,
    8: T.ROTATE_270,
}


def encode(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def two_pictures(form):
    return encode(Image.fromarray(GREY), form, save_all=True, append_images=[Image.fromarray(255 - GREY)])


def patch(grey, box):
    height, width = grey.shape
    left, top, right, bottom = box
    return grey[round(top * height) : round(bottom * height), round(left * width) : round(right * width)].mean()


def is_upright(grey):
    left, top, right, bottom = phantom.HEART
    return (
        patch(grey, phantom.MARKERS["L"]) > patch(grey, phantom.MARKERS["R"]) + 20
        and patch(grey, phantom.HEART) > patch(grey, (1 - right, top, 1 - left, bottom)) + 20
        and patch(grey, phantom.LIVER) > patch(grey, phantom.RIGHT_LUNG) + 40
    )


def difference(grey, expected=GREY):
    assert grey.shape == expected.shape
    assert grey.dtype == np.uint8
    return np.abs(grey.astype(int) - expected).max()


@pytest.mark.parametrize(
    ("form", "options", "loss"),
    [
        ("PNG", {}, 0),
        ("JPEG", {"quality": 95}, 12),
        ("JPEG", {"quality": 95, "progressive": True}, 12),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "jpeg", "quality": 95}, 12),
        ("BMP", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 16),
    ],
)
def test_formats(form, options, loss, tmp_path):
    path = tmp_path / "told by content not by suffix.txt"
    path.write_bytes(encode(Image.fromarray(GREY), form, **options))
    grey = read_image(path)
    assert difference(grey) <= loss
    assert is_upright(grey)


def test_colour_modes():
    image = Image.fromarray(GREY)
    for mode in ("RGB", "RGBA", "LA"):
        assert difference(decode_image(encode(image.convert(mode), "PNG"), mode)) == 0
    assert difference(decode_image(encode(image.convert("P"), "PNG"), "P")) == 0
    few = image.convert("RGB").quantize(64)
    assert difference(decode_image(encode(few, "PNG"), "P of 64 colours"), np.asarray(few.convert("L"))) == 0
    assert difference(decode_image(encode(image.convert("CMYK"), "TIFF"), "CMYK")) <= 1
    assert difference(decode_image(encode(image.convert("CMYK"), "JPEG", quality=95), "CMYK JPEG")) <= 16
    assert difference(decode_image(encode(image.convert("YCbCr"), "JPEG", quality=95), "YCbCr")) <= 12
    assert is_upright(decode_image(encode(Image.fromarray(np.stack([GREY] * 3, -1)), "BMP"), "RGB BMP"))


def test_one_bit():
    expected = np.where(GREY > 127, 255, 0).astype(np.uint8)
    bits = Image.fromarray(expected).convert("1")
    for form in ("PNG", "TIFF", "BMP"):
        assert difference(decode_image(encode(bits, form), form), expected) == 0


def test_transparent_pixels_lie_over_black():
    alpha = np.full_like(GREY, 255)
    alpha[:, :80] = 0
    alpha[:, 80:100] = 128
    expected = np.rint(GREY * (alpha / 255))
    layers = {
        "RGBA": Image.fromarray(np.stack([GREY, GREY, GREY, alpha], -1)),
        "LA": Image.fromarray(np.stack([GREY, alpha], -1)),
    }
    for mode, image in layers.items():
        assert image.mode == mode
        assert difference(decode_image(encode(image, "PNG"), mode), expected) <= 1
    palette = Image.fromarray(GREY).convert("P")
    transparent = decode_image(encode(palette, "PNG", transparency=bytes([0] * 128 + [255] * 128)), "P")
    assert difference(transparent, np.where(GREY < 128, 0, GREY)) == 0
    brightest = int(GREY.max())
    single = decode_image(encode(Image.fromarray(GREY), "PNG", transparency=brightest), "L with one clear level")
    assert difference(single, np.where(brightest == GREY, 0, GREY)) == 0


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation(form, orientation):
    image = Image.fromarray(GREY)
    turned = image if TURNED[orientation] is None else image.transpose(TURNED[orientation])
    exif = Image.Exif()
    exif[274] = orientation
    grey = decode_image(encode(turned, form, exif=exif, quality=95), f"{form} {orientation}")
    assert difference(grey) <= (16 if form in ("JPEG", "WEBP") else 0)
    assert is_upright(grey)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_shown_between_their_percentiles(form):
    deep = GREY.astype(np.uint16) * 40 + 5000
    deep[0, :3] = 65535  # a few hot pixels do not darken the rest
    grey = decode_image(encode(Image.fromarray(deep), form), form)
    low, high = np.percentile(GREY, (0.1, 99.9))
    assert difference(grey[1:], np.clip((GREY[1:] - low) * 255 / (high - low), 0, 255)) <= 2
    assert is_upright(grey)


@pytest.mark.parametrize("mode", ["I;16B", "I;16"])
def test_sixteen_bits_in_strips_are_those_of_the_whole(mode, monkeypatch):
    image = Image.fromarray((GREY.astype(np.uint16) * 200).astype(">u2" if mode == "I;16B" else "<u2"))
    assert image.mode == mode
    whole = decode_image(encode(image, "TIFF"), "whole")
    monkeypatch.setattr("covidcxr.images.decode._STRIP", 7 * GREY.shape[1])  # 192 rows are no multiple of 7
    assert np.array_equal(decode_image(encode(image, "TIFF"), "strips"), whole)


def test_transparency_in_strips_is_that_of_the_whole(monkeypatch):
    image = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(np.roll(GREY, 50, axis=0))))
    whole = decode_image(encode(image, "PNG"), "whole")
    monkeypatch.setattr("covidcxr.images.decode._STRIP", 7 * GREY.shape[1])
    assert np.array_equal(decode_image(encode(image, "PNG"), "strips"), whole)


def deep_rgb(values):
    """A PNG of 16 bits a channel, which Pillow reads but does not write."""
    height, width = values.shape
    rows = np.repeat(values.astype(">u2")[..., np.newaxis], 3, axis=2).reshape(height, -1).view(np.uint8)
    return png(width, height, np.insert(rows, 0, 0, axis=1).tobytes(), bits=16, colour=2)


def test_deep_colour_is_read_by_its_upper_bits_or_refused():
    assert is_upright(decode_image(deep_rgb(GREY.astype(np.uint16) * 256), "full"))
    with pytest.raises(ImageError, match="16-bit colour that uses only the lower bits"):
        decode_image(deep_rgb(GREY.astype(np.uint16) * 16), "twelve bits")


PEAK = """
import pathlib, re, sys
from covidcxr.images.decode import decode_image
from covidcxr.errors import ImageError
try:
    decode_image(pathlib.Path(sys.argv[1]).read_bytes(), "large")
except ImageError as error:
    print(error, file=sys.stderr)
print(int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1000)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("mode", "form", "side", "reason"),
    [
        ("I;16", "PNG", 8000, ""),
        ("LA", "PNG", 8000, ""),
        ("F", "TIFF", 4001, "32 bits, more than"),
        ("RGB", "WEBP", 4001, "WebP, more than"),
    ],
)
@pytest.mark.slow
def test_the_largest_pictures_take_half_a_gigabyte(tmp_path, mode, form, side, reason):
    Image.new(mode, (side, side)).save(tmp_path / "large", form)
    done = subprocess.run([sys.executable, "-c", PEAK, tmp_path / "large"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 600
    assert reason in done.stderr
    assert bool(reason) == bool(done.stderr)


def test_thirty_two_bit_tiffs():
    for values in (GREY.astype(np.int32) * 1000 - 70_000, GREY.astype(np.float32) / 7 - 3):
        assert is_upright(decode_image(encode(Image.fromarray(values), "TIFF"), str(values.dtype)))


@pytest.mark.parametrize(("dtype", "order"), [("u1", "<"), ("u1", ">"), ("u2", "<")])  # Pillow reads no (u2, >)
def test_tiff_where_the_least_value_is_white(dtype, order):
    values = (255 - GREY).astype(order + dtype) * (1 if dtype == "u1" else 200)
    file = tiff(160, 192, values.tobytes(), photometric=0, bits=values.itemsize * 8, order=order)
    black = tiff(160, 192, (values.max() - values).tobytes(), bits=values.itemsize * 8, order=order)
    assert is_upright(decode_image(file, "white"))
    assert difference(decode_image(file, "white"), decode_image(black, "black")) <= 1


def tiff(width, height, pixels, *, photometric=1, bits=8, order="<"):
    """A TIFF of one strip (TIFF 6.0, section 4)."""
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 122,
        277: 1,
        278: height,
        279: len(pixels),
    }
    ifd = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + struct.pack(order + "H", len(tags)) + ifd + bytes(4) + pixels


def test_a_film_behind_a_photo_does_not_count_as_scans():
    data = encode(Image.fromarray(GREY), "JPEG", quality=95)
    assert difference(decode_image(data + SCAN * 1000, "motion photo.jpg")) <= 12


def test_the_main_picture_of_a_phone_photo_is_taken():
    preview = Image.fromarray(255 - GREY)
    data = encode(Image.fromarray(GREY), "MPO", save_all=True, append_images=[preview], quality=95)
    assert difference(decode_image(data, "photo.jpg")) <= 12


# Errors.

PROGRESSIVE = encode(Image.fromarray(GREY), "JPEG", progressive=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"normal\nCOVID\n" * 50, "none of these"),
        (b"GIF89a" + bytes(100), "none of these"),
        (encode(Image.fromarray(GREY), "PNG")[:5000], "truncated|incomplete|IDAT|Truncated"),
        (encode(Image.fromarray(GREY), "JPEG")[:3000], "truncated"),
        (encode(Image.fromarray(GREY), "PNG")[:20], "Truncated"),
        (encode(Image.fromarray(GREY[:31]), "PNG"), "160 x 31 pixels, less than 32 x 32"),
        (encode(Image.fromarray(GREY), "TIFF")[:9000], "."),
        (encode(Image.fromarray(GREY), "BMP")[:9000], "truncated"),
        (encode(Image.fromarray(GREY), "WEBP")[:2000], "."),
        (encode(Image.fromarray(np.where(GREY > 200, np.nan, GREY).astype(np.float32)), "TIFF"), "not finite"),
        (two_pictures("WEBP"), "more than one"),
        (two_pictures("TIFF"), "more than one"),
        (two_pictures("PNG"), "more than one"),
        (PROGRESSIVE[:-2] + PROGRESSIVE[PROGRESSIVE.index(SCAN) :] * MAX_JPEG_SCANS, "scans"),
    ],
)  # fmt: skip
def test_what_is_not_one_image_is_refused_by_name(data, reason):
    with pytest.raises(ImageError, match=rf"^Expected a PNG, .* image\. Received upload 7: .*({reason}).*\.$"):
        decode_image(data, "upload 7")


def test_unreadable_paths_are_refused(tmp_path):
    with pytest.raises(ImageError, match=r"Received .*absent\.png: No such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="directory"):
        read_image(tmp_path)


def png(width, height, rows, *, bits=8, colour=0):
    """A PNG of these rows, each with its filter before it."""
    chunks = b""
    for kind, content in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        chunks += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("side", [8001, 12_000, 60_000])  # over our limit, over Pillow's warning, over Pillow's limit
@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_a_declared_giant_is_refused_before_memory_is_spent(form, side):
    bomb = {
        "PNG": png(side, side, bytes(1000)),
        "TIFF": tiff(side, side, bytes(1000)),
        "BMP": b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 1078, 0, 1078, 40, side, side, 1, 8, 0, 0, 0, 0, 0, 0)
        + bytes(1100),
    }[form]
    assert side**2 > MAX_PIXELS
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(ImageError, match="pixels"):
        decode_image(bomb, "bomb")
    took, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 1
    assert peak < 10_000_000


def test_a_giant_file_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("covidcxr.images.decode.MAX_BYTES", 1000)
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ImageError, match="more than 1000 bytes"):
        read_image(path)


@pytest.mark.filterwarnings("ignore")  # as for a user: a warning about a broken file is not what stops it
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_mutated_files_give_an_image_or_an_image_error(form):
    exif = Image.Exif()
    exif[274] = 6
    options = {} if form == "BMP" else {"exif": exif}
    original = encode(Image.fromarray(GREY[::2, ::2]), form, **options)
    outcomes = {"decoded": 0, "refused": 0}
    for seed in range(200):
        data = mutate(original, seed)
        start = time.perf_counter()
        try:
            grey = decode_image(data, f"seed {seed}")
            outcomes["decoded"] += 1
            assert grey.dtype == np.uint8
            assert grey.ndim == 2
        except ImageError:
            outcomes["refused"] += 1
        assert time.perf_counter() - start < 5
    assert outcomes["refused"] > 10


def mutate(data, seed):
    """Overwrite, cut or double some bytes, half of the time near the start, where headers are."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chance.choice([1, 2, 8, 30])):
        changed[chance.randrange(chance.choice([64, len(changed)]) if len(changed) > 64 else 1)] = chance.randrange(256)
    if chance.random() < 0.3:
        del changed[chance.randrange(len(changed)) :]
    if chance.random() < 0.2:
        place = chance.randrange(len(changed) or 1)
        changed[place:place] = changed[place : place + 200]
    return bytes(changed)


# Preprocessing.


@pytest.mark.parametrize("crop", [1.0, 0.8, 0.5])
def test_preprocessing_crops_the_box_it_names_and_turns_nothing(crop):
    preprocessing = Preprocessing(size=64, crop=crop, equalize=False)
    left, top, right, bottom = preprocessing.box
    assert right - left == pytest.approx(crop)
    assert (left + right) / 2 == pytest.approx(0.5)
    assert (top, bottom) == (left, right)
    x, y = np.meshgrid(np.linspace(0, 1, 301), np.linspace(0, 1, 201))
    across = preprocessing((x * 200).astype(np.uint8)) / 200
    down = preprocessing((y * 200).astype(np.uint8)) / 200
    assert across.shape == (64, 64)
    assert across[:, 0] == pytest.approx(left, abs=0.02)
    assert across[:, -1] == pytest.approx(right, abs=0.02)
    assert down[0] == pytest.approx(top, abs=0.02)
    assert down[-1] == pytest.approx(bottom, abs=0.02)


def test_preprocessing_keeps_the_radiograph_upright():
    out = Preprocessing(size=160, crop=1.0, equalize=True)(GREY)
    assert out.dtype == np.uint8
    assert out.shape == (160, 160)
    assert is_upright(out)


@pytest.mark.parametrize("gamma", [0.5, 0.8, 1.3, 2.0])
def test_equalised_input_does_not_depend_on_gamma(gamma):
    grey = radiograph(np.random.default_rng(4), size=(600, 500))
    other = np.rint(255 * (grey / 255) ** gamma).astype(np.uint8)
    equalised, plain = (
        Preprocessing(size=128, crop=0.9, equalize=True),
        Preprocessing(size=128, crop=0.9, equalize=False),
    )
    changed = np.abs(equalised(grey).astype(int) - equalised(other)).mean()
    assert changed < 4
    assert changed < 0.25 * np.abs(plain(grey).astype(int) - plain(other)).mean()


@pytest.mark.parametrize(
    "arguments", [{"size": 16}, {"size": 224.0}, {"crop": 0.0}, {"crop": 1.1}, {"crop": float("nan")}]
)
def test_impossible_preprocessing_is_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        Preprocessing(**{"size": 224, "crop": 1.0, "equalize": False, **arguments})
