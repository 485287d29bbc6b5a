import heads
import numpy as np
import pytest

from covidcxr.training.robust_head import COVID, LEAST, NORMAL, PNEUMONIA, Features

DISEASE, ORIGIN, STYLE, _ = np.eye(4)


@pytest.fixture
def features():
    """Return two origins of either class and one of pneumonia: disease on one axis, origin on another."""
    rng = np.random.default_rng(0)
    cells = {("a", COVID): 1, ("b", COVID): -1, ("c", NORMAL): 1, ("d", NORMAL): -0.5, ("c", PNEUMONIA): 1}
    counts = [LEAST, 4 * LEAST, LEAST, 2 * LEAST, LEAST]
    centres = [(label == COVID) * DISEASE + side * ORIGIN for (_, label), side in cells.items()]
    plain = np.repeat(centres, counts, axis=0) + 0.5 * rng.normal(size=(sum(counts), 4))
    names, labels = zip(*cells, strict=True)
    moved = plain + rng.normal(size=(len(plain), 1)) * STYLE
    return Features(
        plain.astype(np.float32), moved.astype(np.float32), np.repeat(labels, counts), np.repeat(names, counts)
    )


def direction(fit, features):
    kernel, _ = fit(features)
    standard = kernel[:, 0] * features.plain.std(axis=0)
    return standard / np.linalg.norm(standard)


def test_every_origin_counts_the_same(features):
    of_b = np.flatnonzero(features.origins == "b")
    fewer = np.delete(np.arange(len(features.y_true)), of_b[LEAST:])
    part = Features(features.plain[fewer], features.opaque[fewer], features.y_true[fewer], features.origins[fewer])
    both = direction(heads.difference_of_means, features) @ direction(heads.difference_of_means, part)
    assert both > 0.95


def test_much_ridge_leaves_the_difference_of_means(features):
    plain = direction(heads.difference_of_means, features)
    assert direction(heads.discriminant(1e6), features) @ plain == pytest.approx(1)
    assert direction(heads.discriminant(0.1), features) @ plain < 0.999


@pytest.mark.parametrize(("penalty", "axis"), [("origins", ORIGIN), ("styles", STYLE)])
def test_a_penalty_turns_the_head_away(features, penalty, axis):
    before, after = (direction(heads.discriminant(1, **given), features) for given in ({}, {penalty: 100}))
    assert abs(after @ axis) < 0.2 * abs(before @ axis)


@pytest.mark.parametrize("by_origin", [False, True])
def test_either_class_counts_the_same(features, by_origin):
    shares = heads._shares(features, by_origin)
    assert [shares[features.y_true == of].sum() for of in (NORMAL, PNEUMONIA, COVID)] == pytest.approx([0.5, 0, 0.5])
    of_a, of_b = (shares[(features.origins == origin)].sum() for origin in "ab")
    assert of_b == pytest.approx(of_a * (1 if by_origin else 4))
