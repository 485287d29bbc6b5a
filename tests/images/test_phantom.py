import numpy as np
import pytest

from covidcxr.images import phantom
from covidcxr.images.phantom import Opacity, radiograph


def mean(grey, box):
    height, width = grey.shape
    left, top, right, bottom = box
    return grey[round(top * height) : round(bottom * height), round(left * width) : round(right * width)].mean()


def mirrored(box):
    left, top, right, bottom = box
    return 1 - right, top, 1 - left, bottom


@pytest.mark.parametrize("size", [(480, 400), (300, 300), (128, 160), (700, 500)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_anatomy_lies_in_its_boxes(size, seed):
    grey = radiograph(np.random.default_rng(seed), size=size)
    assert grey.shape == size
    assert grey.dtype == np.uint8
    lungs = max(mean(grey, phantom.LEFT_LUNG), mean(grey, phantom.RIGHT_LUNG))
    for bright in (phantom.HEART, phantom.SPINE, phantom.LIVER):
        assert mean(grey, bright) > lungs + 40
    assert mean(grey, phantom.HEART) > mean(grey, mirrored(phantom.HEART)) + 20, "the heart lies on the image's right"


@pytest.mark.parametrize("marker", ["L", "R"])
def test_marker_lies_in_its_box_only(marker):
    plain = radiograph(np.random.default_rng(0), marker=None)
    marked = radiograph(np.random.default_rng(0), marker=marker)
    changed = marked != plain
    box = phantom.MARKERS[marker]
    assert mean(marked, box) > mean(plain, box) + 30
    assert (
        changed.sum()
        == changed[int(box[1] * 480) : int(box[3] * 480) + 1, int(box[0] * 400) : int(box[2] * 400) + 1].sum()
    )


def test_opacity_brightens_its_place_only():
    opacity = Opacity(x=0.25, y=0.4, radius=0.08, strength=0.3)
    plain = radiograph(np.random.default_rng(3)).astype(int)
    difference = radiograph(np.random.default_rng(3), opacities=[opacity]) - plain
    row, column = np.unravel_index(difference.argmax(), difference.shape)
    assert column / 400 == pytest.approx(0.25, abs=0.02)
    assert row / 480 == pytest.approx(0.4, abs=0.02)
    assert difference.max() == pytest.approx(0.3 * 255, abs=5)
    assert np.abs(difference[:, 200:]).max() == 0


def test_a_seed_decides_everything():
    first, again, other = (radiograph(np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": 1.2, "y": 0.5, "radius": 0.1},
        {"x": 0.5, "y": 0.5, "radius": 0},
        {"x": 0, "y": 0, "radius": 1, "strength": 2},
    ],
)
def test_opacities_outside_the_image_are_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        Opacity(**arguments)


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="64 x 64"):
        radiograph(np.random.default_rng(0), size=(32, 100))
    with pytest.raises(ValueError, match="marker"):
        radiograph(np.random.default_rng(0), marker="X")
