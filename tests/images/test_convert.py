import io

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from covidcxr.errors import ImageError
from covidcxr.images.convert import as_grey
from covidcxr.images.decode import read_image
from covidcxr.images.phantom import radiograph
from support.dicom_objects import dicom, write

GREY = radiograph(np.random.default_rng(0), size=(240, 200))


class Tensor:
    """An array of another library."""

    def __array__(self, dtype=None, copy=None):
        return GREY


def test_every_form_of_an_image_gives_the_same_values(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    rgb = np.repeat(GREY[..., np.newaxis], 3, axis=2)
    forms = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), io.BytesIO(path.read_bytes())]
    forms += [GREY, GREY[..., np.newaxis], rgb, Image.open(path), Image.fromarray(rgb), Tensor()]
    for form in forms:
        assert np.array_equal(as_grey(form), GREY), type(form)
    with path.open("rb") as file:
        assert np.array_equal(as_grey(file), GREY)
    data = write(dicom(GREY))
    assert np.array_equal(as_grey(dcmread(io.BytesIO(data))), as_grey(data))


def test_a_turned_photograph_is_turned_back(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(as_grey(Image.open(tmp_path / "turned.png")), read_image(tmp_path / "turned.png"))


def test_a_path_an_image_and_an_array_of_sixteen_bits_are_the_same(tmp_path):
    deep = GREY.astype(np.uint16) * 200 + 300
    Image.fromarray(deep).save(tmp_path / "deep.png")
    expected = read_image(tmp_path / "deep.png")
    for form in (deep, deep.astype(">u2"), Image.open(tmp_path / "deep.png")):
        assert np.array_equal(as_grey(form), expected)
    for form in (deep.astype(np.float64) / 1000 - 7, deep.astype(np.int32), deep.astype(np.int64)):
        assert np.abs(as_grey(form).astype(int) - expected).max() <= 1
    colour = np.repeat(deep[..., np.newaxis], 3, axis=2)
    assert np.abs(as_grey(colour).astype(int) - expected).max() <= 1
    assert set(np.unique(as_grey(GREY > 100))) == {0, 255}


def test_what_is_converted_is_left_as_it_was():
    ds = dcmread(io.BytesIO(write(dicom(GREY))))
    before = ds.to_json()
    as_grey(ds)
    assert ds.to_json() == before


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"no image", "Received bytes: the content is none of these"),
        (io.StringIO("text"), "Received a file"),
        (np.zeros((200, 200, 2), np.uint8), r"Received ndarray: shape \(200, 200, 2\)"),
        (np.zeros(200, np.uint8), "shape"),
        (np.zeros((10, 200), np.uint8), "200 x 10 pixels"),
        (np.full((200, 200), "a"), "values of type"),
        (np.full((200, 200), np.nan), "not finite"),
        (Image.new("L", (10, 10)), "10 x 10 pixels"),
        (Dataset(), "Received Dataset: a DICOM object without PixelData"),
        ("absent.png", "absent.png"),
    ],
)
def test_an_impossible_image_is_an_error_that_says_why(image, message):
    with pytest.raises(ImageError, match=message):
        as_grey(image)


def test_what_is_no_image_at_all_is_a_type_error():
    with pytest.raises(TypeError, match="Received int"):
        as_grey(3)
