import numpy as np
import pytest

from covidcxr.images.preprocessing import Preprocessing
from covidcxr.recipes.recipe import Augmentation
from covidcxr.training.augmentation import augmented
from support.small_collections import chest


@pytest.fixture(scope="module")
def images():
    one = Preprocessing(size=96, crop=1.0, equalize=False)(chest(1))
    return np.repeat(one[np.newaxis, ..., np.newaxis], 16, 0)


def change(images, seed=3, **settings):
    return augmented(images, Augmentation(**settings), np.random.default_rng(seed))


def test_nothing_to_change_changes_nothing(images):
    assert (change(images) == images).all()


def test_flip_is_left_to_right_and_exact(images):
    mirrored = images[0, :, ::-1]
    kinds = {"same" if (picture == images[0]).all() else "mirrored" for picture in change(images, flip=True)}
    assert kinds == {"same", "mirrored"}
    assert all((p == images[0]).all() or (p == mirrored).all() for p in change(images, flip=True))


def test_the_same_generator_gives_the_same_pictures(images):
    settings = {"flip": True, "rotation": 8, "zoom": 0.1, "contrast": 0.2}
    assert (change(images, **settings) == change(images, **settings)).all()
    assert (change(images, **settings) != change(images, seed=4, **settings)).any()


@pytest.mark.parametrize("settings", [{"rotation": 15}, {"zoom": 0.2}], ids=str)
def test_rotation_and_zoom_are_about_the_middle(settings):
    ring = np.zeros((16, 97, 97, 1), np.uint8)
    ring[:, 46:51, 46:51] = 255
    changed = change(ring, **settings).astype(float)
    rows, columns = (np.tensordot(changed[..., 0].sum(axis), np.arange(97), 1) for axis in (2, 1))
    total = changed.sum(axis=(1, 2, 3))
    assert rows / total == pytest.approx(48, abs=0.1)
    assert columns / total == pytest.approx(48, abs=0.1)


def test_a_shift_stays_within_its_share():
    spot = np.zeros((16, 97, 97, 1), np.uint8)
    spot[:, 48, 48] = 255
    changed = change(spot, translation=0.1)[..., 0]
    places = np.array([np.unravel_index(picture.argmax(), picture.shape) for picture in changed]) - 48
    assert np.abs(places).max() <= 10
    assert np.ptp(places[:, 0]) > 8
    assert np.ptp(places[:, 1]) > 8


def test_a_rotation_turns_by_its_angle_and_no_more():
    row = np.zeros((64, 201, 201, 1), np.uint8)
    row[:, 99:102, 150:] = 255
    changed = change(row, rotation=10)[..., 0].astype(float)
    ends = (changed[:, :, 190] * np.arange(201)).sum(1) / changed[:, :, 190].sum(1) - 100
    angles = np.degrees(np.arctan2(ends, 90))
    assert np.abs(angles).max() <= 10.2
    assert np.abs(angles).max() > 8


def test_all_geometry_costs_the_sharpness_of_one_resampling(images):
    def detail(pictures):
        return np.square(np.diff(pictures.astype(float), axis=2)).mean()

    one = detail(change(images, translation=0.05))
    assert detail(change(images, flip=True, rotation=2, translation=0.05, zoom=0.02)) > 0.9 * one


def test_brightness_and_contrast_move_the_greys():
    grey = np.full((16, 32, 32, 1), 100, np.uint8)
    grey[:, :16] = 140
    brighter = change(grey, brightness=0.1).astype(int)
    assert (np.ptp(brighter, axis=(1, 2, 3)) == 40).all()
    assert 15 < np.abs(brighter.mean(axis=(1, 2, 3)) - 120).max() <= 26
    steeper = change(grey, contrast=0.3).astype(int)
    assert steeper.mean(axis=(1, 2, 3)) == pytest.approx(120, abs=1)
    assert np.ptp(steeper, axis=(1, 2, 3)).max() > 48
    assert np.ptp(steeper, axis=(1, 2, 3)).max() <= 52
