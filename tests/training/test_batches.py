import numpy as np
import pytest

from covidcxr.images.decode import read_image
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.recipes.recipe import Augmentation
from covidcxr.training.batches import Batches, balanced_weights, load_images, pipeline


def batches(**changes):
    images = np.arange(20 * 32 * 32, dtype=np.uint32).astype(np.uint8).reshape(20, 32, 32, 1)
    settings = {"batch_size": 8, "seed": 1, "augmentation": Augmentation(flip=True, rotation=8, zoom=0.1)}
    return Batches(images, np.arange(20), np.ones(20, np.float32), **settings | changes)


def test_training_images_equal_served_images(records):
    preprocessing = Preprocessing(size=64, crop=0.9, equalize=True)
    images = load_images(records[:4], preprocessing)
    assert images.shape == (4, 64, 64, 1)
    for image, record in zip(images, records, strict=False):
        assert (image[..., 0] == preprocessing(read_image(record.path))).all()


def test_batches_depend_on_seed_epoch_and_number_alone():
    one, other = batches(), batches()
    first = [one[number] for number in range(len(one))]
    other[2]  # out of order, as after a stop
    again = [other[number] for number in range(len(other))]
    for a, b in zip(first, again, strict=True):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))
    other.epoch = 1
    assert not (other[0][1] == first[0][1]).all()
    assert not (batches(seed=2)[0][1] == first[0][1]).all()


def test_every_image_comes_once_an_epoch():
    data = batches()
    for data.epoch in range(3):
        seen = np.concatenate([data[number][1] for number in range(len(data))])
        assert sorted(seen) == list(range(20))


def test_pipeline_gives_the_batches_in_order():
    data = batches()
    for number, (images, y_true, weights) in enumerate(pipeline(data)):
        expected = data[number]
        assert images.shape[1:] == (32, 32, 1)
        assert (images.numpy() == expected[0]).all()
        assert (y_true.numpy() == expected[1]).all()
        assert (weights.numpy() == expected[2]).all()
    assert number == len(data) - 1


def test_validation_is_neither_shuffled_nor_changed():
    data = batches(augmentation=None)
    assert (data[0][1] == np.arange(8)).all()
    assert (data[0][0] == np.arange(8 * 1024, dtype=np.uint32).astype(np.uint8).reshape(8, 32, 32, 1)).all()


def test_balanced_weights_give_every_class_the_same_sum():
    y_true = np.array([0] * 10 + [1] * 30 + [2] * 60)
    weights = balanced_weights(y_true, 3)
    sums = [weights[y_true == label].sum() for label in range(3)]
    assert sums == pytest.approx([100 / 3] * 3)
    assert weights.mean() == pytest.approx(1)
