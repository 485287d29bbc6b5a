import numpy as np
import pytest

from covidcxr.images.phantom import LIVER, MARKERS, SPINE, radiograph
from covidcxr.prediction.lungs import LungSegmenter
from covidcxr.training.opacities import LEAST_LUNG, LUNG, with_opacities

SIZE, TOP, BOTTOM = 128, 24, 104
LEFT, RIGHT = slice(16, 54), slice(74, 112)
"""Columns of the lungs of the drawing below, as the picture has them."""


def drawing():
    """Return a dark box for each lung on lighter ground, and the probabilities of lung that belong to it."""
    lungs = np.zeros((SIZE, SIZE), np.float32)
    lungs[TOP:BOTTOM, LEFT] = lungs[TOP:BOTTOM, RIGHT] = 1
    return np.where(lungs > 0, 40, 180).astype(np.uint8), lungs


def rise(grey, lungs, seed):
    """Return by how much every pixel becomes brighter."""
    return with_opacities(grey, lungs, np.random.default_rng(seed)).astype(int) - grey


@pytest.mark.parametrize("size", [(480, 400), (301, 257), (65, 97)])
def test_lungs_become_brighter_nothing_darker_and_all_else_stays(size):
    grey = radiograph(np.random.default_rng(0), size=size)
    given, lungs = grey.copy(), LungSegmenter.load().probabilities([grey])[0]
    inside = LungSegmenter.load().masks([grey])[0]
    for seed in range(5):
        opaque = with_opacities(given, lungs, np.random.default_rng(seed))
        assert (given == grey).all(), "the picture given is left alone"
        assert (opaque.shape, opaque.dtype) == (size, np.uint8)
        risen = opaque.astype(int) - grey
        assert risen.min() >= 0
        assert risen[inside].mean() > 2
        assert risen[inside].max() > 20
        for left, top, right, bottom in (LIVER, SPINE, *MARKERS.values()):
            rows = slice(round(top * size[0]), round(bottom * size[0]))
            assert risen[rows, round(left * size[1]) : round(right * size[1])].mean() < 0.5


def test_nothing_changes_outside_the_lungs():
    grey, lungs = drawing()
    far = np.ones((SIZE, SIZE), bool)
    far[TOP - 8 : BOTTOM + 8, LEFT.start - 8 : RIGHT.stop + 8] = False
    far[:, (LEFT.stop + RIGHT.start) // 2] = True
    for seed in range(20):
        risen = rise(grey, lungs, seed)
        assert not risen[far].any()
        assert risen[lungs > LUNG].mean() > 1


def test_the_generator_alone_decides():
    grey, lungs = drawing()
    assert (rise(grey, lungs, 1) == rise(grey, lungs, 1)).all()
    assert (rise(grey, lungs, 1) != rise(grey, lungs, 2)).any()


def test_without_lungs_nothing_changes():
    grey, lungs = drawing()
    few = np.zeros_like(lungs)
    few.flat[: LEAST_LUNG - 1] = 1
    for none in (few, np.zeros_like(lungs), np.full_like(lungs, LUNG)):
        assert not rise(grey, none, 0).any()


def test_lungs_become_no_whiter_than_the_tissue_around_them():
    grey, lungs = drawing()
    whitest = max(with_opacities(grey, lungs, np.random.default_rng(seed))[lungs > LUNG].max() for seed in range(50))
    assert 40 + 0.5 * (180 - 40) < whitest <= 180


def test_most_opacities_lie_below_and_outside():
    grey, lungs = drawing()
    risen = np.mean([rise(grey, lungs, seed) for seed in range(200)], axis=0)
    upper, lower = (half.mean() for half in np.array_split(risen[TOP:BOTTOM, LEFT], 2))
    assert lower > 1.3 * upper
    third = (LEFT.stop - LEFT.start) // 3
    outer = risen[TOP:BOTTOM, [*range(LEFT.start, LEFT.start + third), *range(RIGHT.stop - third, RIGHT.stop)]]
    inner = risen[TOP:BOTTOM, [*range(LEFT.stop - third, LEFT.stop), *range(RIGHT.start, RIGHT.start + third)]]
    assert outer.mean() > 1.05 * inner.mean()


def test_specks_of_lung_that_are_lost_in_a_small_picture_are_no_error():
    lungs = np.zeros((SIZE, SIZE), np.float32)
    lungs[::12, ::12] = 1
    assert np.count_nonzero(lungs) >= LEAST_LUNG
    grey = radiograph(np.random.default_rng(0), size=(64, 64))
    assert (with_opacities(grey, lungs, np.random.default_rng(0)) >= grey).all()
