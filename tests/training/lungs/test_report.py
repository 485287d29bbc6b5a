import numpy as np
import pytest

from covidcxr.evaluation.metrics import mean_of
from covidcxr.training.lungs.report import contact_sheet, dice, outlined


def test_dice_of_known_masks():
    a, b = np.zeros((2, 10, 10), bool)
    assert dice(a, b) == 1
    a[:5] = True
    assert dice(a, b) == 0
    b[:, :5] = True
    assert dice(a, b) == 0.5
    assert dice(a, a) == 1


def test_the_interval_is_over_patients():
    scores = np.repeat([0.9, 1.0], 50)
    images = mean_of(scores, np.arange(100).astype(str), seed=0)
    patients = mean_of(scores, np.repeat(["a", "b", "c", "d"], 25), seed=0)
    assert images.value == patients.value == pytest.approx(0.95)
    assert images.low < 0.95 < images.high
    assert patients.high - patients.low > 3 * (images.high - images.low)


def test_outlines_are_green_as_drawn_and_orange_as_found():
    drawn, found = np.zeros((2, 120, 120), bool)
    drawn[20:60, 20:50] = True
    found[70:100, 60:100] = True
    picture = np.asarray(outlined(np.full((120, 120), 90, np.uint8), drawn, found))
    assert picture.shape == (240, 240, 3)
    assert (picture[40, 40:100] == (0, 158, 115)).all()
    assert (picture[140, 120:200] == (230, 159, 0)).all()
    assert (picture[80, 60] == 90).all(), "inside an outline the radiograph stays"
    assert (picture[230, 10] == 90).all()
    assert contact_sheet([outlined(np.zeros((40, 30), np.uint8), drawn, found)] * 7).size == (6 * 246 + 6, 2 * 246 + 6)
