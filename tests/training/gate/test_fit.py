from dataclasses import replace

import numpy as np
import pytest

from covidcxr.errors import ManifestError, RecipeError
from covidcxr.prediction.flags import FlagCode
from covidcxr.training.gate.fit import ADULT, CODES, DECLINED, LEARNED, Gate, Pictures, declined_when_unseen, fit

COUNT, SIZE = 200, 12


def cloud(rng, kind, origin, centre):
    """Draw features of a kind of picture: a cloud of its own, around one axis."""
    return rng.normal(size=(COUNT, SIZE)) + centre, [kind] * COUNT, [origin] * COUNT


def make_pictures(origins=("a", "b", "c"), shift=0.2):
    rng = np.random.default_rng(0)
    axes = 8 * np.eye(SIZE)
    parts = [cloud(rng, ADULT, name, shift * axes[5 + index]) for index, name in enumerate(origins)]
    parts += [cloud(rng, code, "elsewhere", axes[index]) for index, code in enumerate(LEARNED)]
    features, kinds, names = (np.concatenate([part[index] for part in parts]) for index in range(3))
    return Pictures(features.astype(np.float32), kinds, names, np.arange(len(kinds)).astype(str))


@pytest.fixture(scope="module")
def pictures():
    return make_pictures()


@pytest.fixture(scope="module")
def gate(pictures):
    return fit(pictures)


@pytest.mark.parametrize("code", LEARNED)
def test_each_check_finds_its_kind(pictures, gate, code):
    scores = gate.scores(pictures.features[pictures.kinds == code])[:, CODES.index(code)]
    assert np.mean(scores >= gate.thresholds[CODES.index(code)]) > 0.95


def test_what_is_far_from_everything_is_unlike_training(pictures, gate):
    far = pictures.features[pictures.kinds == ADULT] + 40
    column = CODES.index(FlagCode.UNLIKE_TRAINING)
    assert (gate.scores(far)[:, column] >= gate.thresholds[column]).all()


def test_few_adults_are_declined_by_a_gate_that_saw_their_origin(pictures, gate):
    for origin in "abc":
        declined = gate.scores(pictures.adults_of(origin).features) >= gate.thresholds
        assert declined.any(axis=1).mean() <= sum(DECLINED.values())


def test_an_unseen_origin_is_judged_by_a_gate_without_it(pictures):
    far = make_pictures(shift=2.0)
    near, apart = (declined_when_unseen(given) for given in (pictures, far))
    assert list(near) == ["a", "b", "c"]
    assert near["a"].shape == (COUNT, len(CODES))
    assert max(declined.any(axis=1).mean() for declined in near.values()) < 0.15
    scored = fit(far.without(["a"]))
    assert np.array_equal(apart["a"], scored.scores(far.adults_of("a").features) >= scored.thresholds)


def test_the_adults_of_an_origin_that_is_left_out_do_not_matter(pictures):
    rng = np.random.default_rng(1)
    moved = pictures.features.copy()
    own = (pictures.kinds == ADULT) & (pictures.origins == "a")
    moved[own] += rng.normal(0, 50, (own.sum(), SIZE)).astype(np.float32)
    first, second = (fit(given.without(["a"])) for given in (pictures, replace(pictures, features=moved)))
    assert np.array_equal(first.whitening, second.whitening)
    assert np.array_equal(first.thresholds, second.thresholds)


def test_a_missing_kind_is_an_error(pictures):
    kinds = np.where(pictures.kinds == FlagCode.CT, FlagCode.LATERAL, pictures.kinds)
    with pytest.raises(ManifestError, match="none of ct"):
        fit(replace(pictures, kinds=kinds))


def test_one_origin_cannot_tell_what_another_needs():
    with pytest.raises(ManifestError, match="two origins"):
        fit(make_pictures(origins=("a",)))
    assert declined_when_unseen(make_pictures(origins=("a", "b"))) == {}


def test_a_gate_goes_through_its_file(gate, pictures, tmp_path):
    gate.save(tmp_path / "gate.npz")
    loaded = Gate.load(tmp_path / "gate.npz")
    assert np.array_equal(loaded.scores(pictures.features), gate.scores(pictures.features))
    assert [check.code for check in loaded.checks] == list(CODES)
    assert all(check.declines for check in loaded.checks)
    (tmp_path / "gate.npz").write_bytes(b"no gate")
    with pytest.raises(RecipeError, match="gate train"):
        Gate.load(tmp_path / "gate.npz")
