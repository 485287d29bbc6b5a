import json

import numpy as np
import pytest
from scipy.stats import chi2

from covidcxr.batch.drift import GROUPS, Change, Histogram, _chi_square, _groups, drift


def histogram(values):
    made = Histogram(low=0.0, high=1.0)
    made.add(np.asarray(values))
    return made


def test_a_histogram_counts_every_value_once():
    made = histogram([0.0, 0.005, 0.5, 1.0, -3.0, 7.0])
    assert made.images == 6
    assert (made.counts[0], made.counts[50], made.counts[99]) == (3, 1, 2)
    made.add(np.array([0.5]))
    assert made.counts[50] == 2


def test_it_survives_json():
    made = histogram([0.1, 0.2])
    again = Histogram.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again.to_dict() == made.to_dict()
    with pytest.raises(ValueError, match="Expected 100 counts"):
        Histogram.from_dict({"low": 0, "high": 1, "counts": [1]})


def test_groups_are_about_equally_full():
    rng = np.random.default_rng(0)
    counts = histogram(rng.beta(2, 5, 10_000)).counts
    sums = np.add.reduceat(counts, _groups(counts))
    assert len(sums) == GROUPS
    assert sums.sum() == 10_000
    assert sums.min() > 700


def test_the_index_is_that_of_its_formula():
    """Two groups, shares 0.5 and 0.5 against 0.8 and 0.2."""
    reference, received = histogram([0.2] * 5000 + [0.8] * 5000), histogram([0.2] * 8000 + [0.8] * 2000)
    found = drift(reference, received)
    assert found.index == pytest.approx(0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5), rel=1e-3)
    assert found.change == Change.SHIFTED


@pytest.mark.parametrize(
    ("mean", "images", "change"),
    [
        (0.5, 20_000, "none"),
        (0.5, 50, "none"),
        (0.55, 20_000, "moved"),
        (0.65, 20_000, "shifted"),
        (0.65, 400, "shifted"),
    ],
)
def test_what_has_changed(mean, images, change):
    rng = np.random.default_rng(1)
    reference = histogram(rng.normal(0.5, 0.12, 20_000))
    assert drift(reference, histogram(rng.normal(mean, 0.12, images))).change == change


def test_chance_is_exceeded_as_seldom_as_it_says():
    rng = np.random.default_rng(2)
    found = [drift(histogram(rng.random(2000)), histogram(rng.random(1000))) for _ in range(400)]
    exceeded = np.mean([one.index > one.chance for one in found])
    assert 0.02 < exceeded < 0.09


@pytest.mark.parametrize("degrees", range(1, GROUPS))
def test_chi_square(degrees):
    assert _chi_square(degrees) == pytest.approx(chi2.ppf(0.95, degrees), rel=0.03 if degrees == 1 else 0.01)


def test_nothing_to_compare():
    assert drift(histogram([]), histogram([0.5])) is None
    assert drift(histogram([0.5]), histogram([])) is None


def test_a_reference_that_is_always_the_same():
    assert drift(histogram([0.0] * 900), histogram([0.1] * 900)).change == Change.SHIFTED
    assert drift(histogram([0.5] * 900), histogram([0.5] * 900)).index == 0
