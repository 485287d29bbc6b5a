import numpy as np
import pytest

from covidcxr.errors import ImageError
from covidcxr.images.decode import decode_image
from covidcxr.images.phantom import radiograph
from covidcxr.images.raw import BITS, SIDE


@pytest.fixture(scope="module")
def grey():
    return radiograph(np.random.default_rng(0), size=(SIDE, SIDE))


def raw(values):
    return values.astype(">u2").tobytes()


def test_bones_are_dark_in_the_file_and_bright_in_the_picture(grey):
    density = (1 << BITS) - 1 - 16 * grey.astype(np.uint16)
    found = decode_image(raw(density), "JPCNN001.IMG")
    assert found.shape == (SIDE, SIDE)
    assert np.corrcoef(found[::32, ::32].ravel(), grey[::32, ::32].ravel())[0, 1] > 0.99
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("change", ["short", "long", "sixteen bits"])
def test_other_bytes_are_no_raw_image(grey, change):
    values = grey.astype(np.uint16)
    if change == "sixteen bits":
        values[5, 5] = 1 << BITS
    data = {"short": raw(values)[:-1], "long": raw(values) + b"\0"}.get(change, raw(values))
    with pytest.raises(ImageError, match="none of these"):
        decode_image(data, "picture.img")
