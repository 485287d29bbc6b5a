from dataclasses import replace

import numpy as np
import pytest

from covidcxr.errors import ImageError
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.training import image_cache
from covidcxr.training.batches import load_images
from covidcxr.training.image_cache import ImageCache

SMALL = Preprocessing(size=64, crop=0.9, equalize=True)


@pytest.fixture
def decoded(monkeypatch):
    """Paths that were decoded, in order."""
    paths = []
    decode = image_cache.read_image
    monkeypatch.setattr(image_cache, "read_image", lambda path: (paths.append(path), decode(path))[1])
    return paths


def test_cached_images_equal_decoded_ones_and_are_decoded_once(records, tmp_path, decoded):
    expected = load_images(records[:6], SMALL)
    first = load_images(records[:6], SMALL, tmp_path)
    assert len(decoded) == 6
    again = load_images(records[:6], SMALL, tmp_path)
    assert decoded[6:] == [records[0].path]  # compared
    assert np.array_equal(first, expected)
    assert np.array_equal(again, expected)
    assert not list(tmp_path.rglob("*.part*"))


def test_another_preprocessing_has_files_of_its_own(records, tmp_path, decoded):
    load_images(records[:2], SMALL, tmp_path)
    other = replace(SMALL, equalize=False)
    assert np.array_equal(load_images(records[:2], other, tmp_path), load_images(records[:2], other))
    assert len(list(tmp_path.rglob("*.npy"))) == 4


@pytest.mark.parametrize("keep", [0, 50, 2000])
def test_a_file_that_the_disk_lost_a_part_of_is_made_anew(records, tmp_path, keep):
    expected = load_images(records[:1], SMALL, tmp_path)
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:keep])
    assert np.array_equal(load_images(records[:1], SMALL, tmp_path), expected)
    assert np.load(path).shape == (64, 64)


def test_pixels_of_another_state_of_the_code_are_noticed(records, tmp_path):
    load_images(records[:2], SMALL, tmp_path)
    for path in tmp_path.rglob("*.npy"):
        np.save(path, np.load(path) ^ 1)
    with pytest.raises(ImageError, match="different pixels"):
        load_images(records[:2], SMALL, tmp_path)


def test_a_picture_in_the_cache_need_not_be_there_any_more(records, tmp_path):
    cache = ImageCache(tmp_path, SMALL)
    images = [cache.image(record) for record in records[:2]]
    assert np.array_equal(cache.image(records[0]), images[0])
    gone = replace(records[1], path=tmp_path / "gone.png")
    assert np.array_equal(cache.image(gone), images[1])
