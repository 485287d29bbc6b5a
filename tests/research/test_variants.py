import numpy as np
import variants

from covidcxr.images.phantom import radiograph


def test_a_style_is_a_function_of_the_seed():
    grey, lungs = radiograph(np.random.default_rng(0)), np.ones((8, 8), np.float32)
    first, again, other = (variants.in_another_style(grey, lungs, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (variants.STYLED, variants.STYLED)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_picture_is_cut_to_the_lungs():
    lungs = np.zeros((10, 10), np.float32)
    lungs[2:8, 3:7] = 1
    cut = variants.to_lungs(np.arange(10000, dtype=np.uint32).reshape(100, 100), lungs, np.random.default_rng(0))
    assert cut[0, 0] // 100 in range(10, 20)
    assert cut[0, 0] % 100 in range(20, 30)
    assert 60 <= cut.shape[0] <= 80
    assert 40 <= cut.shape[1] <= 60
