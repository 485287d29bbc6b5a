import numpy as np
import pytest

from covidcxr.images.phantom import radiograph
from covidcxr.training.robust_head import COVID, LEAST, NORMAL, PNEUMONIA, Features

DISEASE, ORIGIN, STYLE, _ = np.eye(4)


@pytest.fixture
def study(monkeypatch, request):
    monkeypatch.syspath_prepend(request.config.rootpath / "scripts")
    import study_heads
    import study_pictures

    return study_heads, study_pictures


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


def test_every_origin_counts_the_same(study, features):
    heads, _ = study
    of_b = np.flatnonzero(features.origins == "b")
    fewer = np.delete(np.arange(len(features.y_true)), of_b[LEAST:])
    part = Features(features.plain[fewer], features.opaque[fewer], features.y_true[fewer], features.origins[fewer])
    both = direction(heads.difference_of_means, features) @ direction(heads.difference_of_means, part)
    assert both > 0.95


def test_much_ridge_leaves_the_difference_of_means(study, features):
    heads, _ = study
    plain = direction(heads.difference_of_means, features)
    assert direction(heads.discriminant(1e6), features) @ plain == pytest.approx(1)
    assert direction(heads.discriminant(0.1), features) @ plain < 0.999


@pytest.mark.parametrize(("penalty", "axis"), [("origins", ORIGIN), ("styles", STYLE)])
def test_a_penalty_turns_the_head_away(study, features, penalty, axis):
    heads, _ = study
    before, after = (direction(heads.discriminant(1, **given), features) for given in ({}, {penalty: 100}))
    assert abs(after @ axis) < 0.2 * abs(before @ axis)


@pytest.mark.parametrize("by_origin", [False, True])
def test_either_class_counts_the_same(study, features, by_origin):
    heads, _ = study
    shares = heads._shares(features, by_origin)
    assert [shares[features.y_true == of].sum() for of in (NORMAL, PNEUMONIA, COVID)] == pytest.approx([0.5, 0, 0.5])
    of_a, of_b = (shares[(features.origins == origin)].sum() for origin in "ab")
    assert of_b == pytest.approx(of_a * (1 if by_origin else 4))


def test_a_style_is_a_function_of_the_seed(study):
    _, pictures = study
    grey, lungs = radiograph(np.random.default_rng(0)), np.ones((8, 8), np.float32)
    first, again, other = (pictures.in_another_style(grey, lungs, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (pictures.STYLED, pictures.STYLED)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_picture_is_cut_to_the_lungs(study):
    _, pictures = study
    lungs = np.zeros((10, 10), np.float32)
    lungs[2:8, 3:7] = 1
    cut = pictures.to_lungs(np.arange(10000, dtype=np.uint32).reshape(100, 100), lungs, np.random.default_rng(0))
    assert cut[0, 0] // 100 in range(10, 20)
    assert cut[0, 0] % 100 in range(20, 30)
    assert 60 <= cut.shape[0] <= 80
    assert 40 <= cut.shape[1] <= 60
