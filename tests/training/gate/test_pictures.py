import numpy as np
import pytest

from covidcxr.training.gate.pictures import KINDS, SIDES, non_xrays


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_pictures_with_something_in_them(kind):
    for seed in range(3):
        grey = KINDS[kind](np.random.default_rng(seed))
        assert grey.dtype == np.uint8
        assert grey.ndim == 2
        assert SIDES[0] <= min(grey.shape) <= max(grey.shape) < SIDES[1]
        assert grey.std() > 0


def test_a_seed_gives_the_same_pictures_and_another_one_others():
    first, again, other = (non_xrays(len(KINDS), seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
