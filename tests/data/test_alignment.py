import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from covidcxr.data import alignment
from covidcxr.data.alignment import FINE, Axis, agreement
from support.small_collections import chest

WHOLE = Axis(0.0, 1.0)


def thumbnail(grey, box=(0.0, 0.0, 1.0, 1.0)):
    image = Image.fromarray(grey)
    size = (image.width, image.height) * 2
    pixels = tuple(share * side for share, side in zip(box, size, strict=True))
    return np.asarray(image.resize((FINE, FINE), Image.Resampling.LANCZOS, box=pixels))


def test_a_picture_agrees_with_itself_and_not_with_another():
    one, other = thumbnail(chest(1)), thumbnail(chest(2))
    assert agreement(one, one, WHOLE, WHOLE) > 0.999
    assert agreement(one, other, WHOLE, WHOLE) < 0.5


@pytest.mark.parametrize(
    "box",
    [(0.03, 0.03, 0.97, 0.97), (0.03, 0, 1, 0.97), (0, 0.04, 1, 1)],
    ids=["every side", "two sides", "top"],
)
def test_a_crop_is_found_without_a_guess(box):
    assert agreement(thumbnail(chest(3)), thumbnail(chest(3), box), WHOLE, WHOLE) > 0.99
    assert agreement(thumbnail(chest(3), box), thumbnail(chest(3)), WHOLE, WHOLE) > 0.99


def test_a_guess_lets_a_larger_crop_be_found():
    guess = Axis(0.06, 0.88)
    cropped = thumbnail(chest(4), (0.07, 0.06, 0.93, 0.94))
    assert agreement(cropped, thumbnail(chest(4)), guess, guess) > 0.99


def test_brightness_and_a_burnt_in_arrow_do_not_matter():
    one = thumbnail(chest(5))
    changed = np.clip(one * 0.6 + 20, 0, 255).astype(np.uint8)
    changed[20:40, 60:110] = 255
    assert agreement(one, changed, WHOLE, WHOLE) > 0.95


def test_a_mirrored_picture_does_not_agree():
    one = thumbnail(chest(6))
    assert agreement(one, one[:, ::-1].copy(), WHOLE, WHOLE) < 0.5


def test_uniform_pictures_do_not_agree():
    grey = np.full((FINE, FINE), 90, np.uint8)
    assert agreement(grey, grey, WHOLE, WHOLE) == 0


def test_an_axis_and_its_overlap():
    assert WHOLE.overlap() == (0, 1, 0, 1)
    assert Axis(0.1, 0.8).overlap() == pytest.approx((0, 1, 0.1, 0.9))
    assert Axis(-0.125, 1.25).overlap() == pytest.approx((0.1, 0.9, 0, 1))
    assert not Axis(0.0, 2.0).plausible
    assert not Axis(0.5, 1.0).plausible


def test_a_corrected_axis_is_one_map_after_another():
    axis = Axis(-0.125, 1.25)
    corrected = axis.corrected(0.01, 0.02)
    low, high, low_b, high_b = axis.overlap()
    for share in (0.2, 0.7):
        within = (share - low) / (high - low)
        expected = low_b + (high_b - low_b) * (within + 0.01 + 0.02 * within)
        assert corrected.offset + corrected.scale * share == pytest.approx(expected)


def test_filter_and_median_are_those_of_scipy_and_numpy_to_the_bit():
    values = np.random.default_rng(0).normal(100, 40, (2, 64, 64)).astype(np.float32)
    for sigma in (0.5, 0.8, 64 / 24):
        smooth = alignment._smooth(values, sigma)
        assert np.array_equal(smooth, [gaussian_filter(image, sigma) for image in values])
    assert alignment._median(values.ravel()) == np.median(values)
