import numpy as np
import pytest

from covidcxr.images.phantom import Opacity, radiograph
from covidcxr.labels import Label
from covidcxr.prediction.heatmap import COLOURS, overlay
from covidcxr.prediction.predictor import ActivationMap

GREY = radiograph(np.random.default_rng(0), size=(300, 240))


def one_cell(row, column, box=(0.0, 0.0, 1.0, 1.0), shape=(7, 7)):
    values = np.zeros(shape, np.float32)
    values[row, column] = 1
    return ActivationMap(values=values, box=box)


def colourfulness(picture):
    values = np.asarray(picture).astype(int)
    return values.max(axis=2) - values.min(axis=2)


def centre(weights):
    """Centre of gravity as shares of the width and height."""
    height, width = weights.shape
    x = (weights.sum(axis=0) * (np.arange(width) + 0.5)).sum() / weights.sum() / width
    y = (weights.sum(axis=1) * (np.arange(height) + 0.5)).sum() / weights.sum() / height
    return x, y


@pytest.mark.parametrize("x", [0.27, 0.73])
@pytest.mark.parametrize("y", [0.3, 0.65])
@pytest.mark.parametrize("size", [(480, 400), (300, 500)])
def test_an_opacity_lights_up_where_it_is(predictor, x, y, size):
    opacity = Opacity(x=x, y=y, radius=0.12, strength=0.5)
    plain, changed = (radiograph(np.random.default_rng(0), size=size, opacities=list) for list in ((), (opacity,)))
    added = changed.astype(int) - plain
    grey = (140 + plain // 16 + added * (100 / added.max())).astype(np.uint8)  # bright: the tiny model says covid
    prediction = predictor.predict(grey)
    assert prediction.label is Label.COVID
    coloured = colourfulness(overlay(grey, prediction.activation_map))
    assert coloured.shape == size
    assert centre((coloured > 0.8 * coloured.max()).astype(float)) == pytest.approx((x, y), abs=0.06)


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 1.0, 1.0), (0.1, 0.1, 0.9, 0.9), (0.25, 0.5, 0.75, 1.0), (0.05, 0.3, 0.6, 0.8)]
)
@pytest.mark.parametrize("cell", [(0, 0), (3, 5), (6, 2)])
def test_a_cell_is_drawn_in_its_place(box, cell):
    coloured = colourfulness(overlay(np.full((333, 251), 90, np.uint8), one_cell(*cell, box)))
    left, top, right, bottom = box
    x = left + (right - left) * (cell[1] + 0.5) / 7
    y = top + (bottom - top) * (cell[0] + 0.5) / 7
    assert centre((coloured > 0.8 * coloured.max()).astype(float)) == pytest.approx((x, y), abs=0.02)
    outside = np.ones(coloured.shape, bool)
    outside[int(top * 333) : int(np.ceil(bottom * 333)), int(left * 251) : int(np.ceil(right * 251))] = False
    assert not coloured[outside].any()


def test_low_places_keep_the_radiograph():
    picture = np.asarray(overlay(GREY, one_cell(0, 0)))
    assert (picture[150:] == GREY[150:, :, np.newaxis]).all()
    assert (picture[:40, :30] != GREY[:40, :30, np.newaxis]).any()


def test_strength():
    everywhere = ActivationMap(values=np.ones((7, 7), np.float32), box=(0, 0, 1, 1))
    assert (np.asarray(overlay(GREY, everywhere, strength=0)) == GREY[..., np.newaxis]).all()
    assert (np.asarray(overlay(GREY, everywhere, strength=1)) == COLOURS[-1]).all()
    half = np.asarray(overlay(GREY, everywhere, strength=0.5))
    assert np.abs(half - (GREY[..., np.newaxis] * 0.5 + np.array(COLOURS[-1]) * 0.5)).max() <= 1
    with pytest.raises(ValueError, match="strength"):
        overlay(GREY, everywhere, strength=1.5)


def test_colours_grow_lighter_and_survive_colour_blindness():
    """Simulate the lack of red or green receptors (Vienot et al. 1999, linear RGB) and look at the lightness."""
    linear = (np.array(COLOURS) / 255) ** 2.2
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    for eye in (np.eye(3), protan, deutan):
        luminance = np.clip(linear @ eye.T, 0, 1) @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(luminance) > 0).all()


def test_large_radiographs_give_pictures_of_bounded_size():
    picture = overlay(np.zeros((3000, 1500), np.uint8), one_cell(1, 1), max_side=600)
    assert picture.size == (300, 600)
    assert picture.mode == "RGB"
    assert overlay(GREY, one_cell(1, 1)).size == (240, 300)
