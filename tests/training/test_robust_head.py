from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from covidcxr.errors import ManifestError
from covidcxr.labels import LABELS
from covidcxr.recipes.recipe import RobustHead, parse_recipe
from covidcxr.training.robust_head import COVID, LEAST, NORMAL, PNEUMONIA, Features, features_of, fit_head
from support.small_recipes import robust_recipe

CELLS = (("a", NORMAL), ("a", PNEUMONIA), ("b", COVID), ("b", NORMAL), ("c", COVID), ("d", NORMAL))
EACH, WIDTH = 200, 12
DISEASE, SHORTCUT, OTHER = np.eye(WIDTH)[:3]
"""Directions of the features: what opacities do, what marks the images of origin a, what a pneumonia does beside."""
ALONE = {"within": 0.0, "opacities": 0.0, "contrast": 0.0}


@pytest.fixture(scope="module")
def settings():
    """Those of the recipe that ships."""
    return parse_recipe(robust_recipe(), "robust").training.robust_head


@pytest.fixture(scope="module")
def features():
    """Return Gaussian features: every image of origin a carries the shortcut, every diseased lung the disease."""
    rng = np.random.default_rng(0)
    plain, y_true, origins = [], [], []
    for origin, label in CELLS:
        centre = 4 * SHORTCUT * (origin == "a") + DISEASE * (label != NORMAL) + 2 * OTHER * (label == PNEUMONIA)
        plain.append(rng.normal(centre, 1, (EACH, WIDTH)))
        y_true += [label] * EACH
        origins += [origin] * EACH
    drawn = np.concatenate(plain).astype(np.float32)
    opaque = drawn + 1.5 * DISEASE + rng.normal(0, 0.1, drawn.shape)
    return Features(drawn, opaque.astype(np.float32), np.array(y_true), np.array(origins))


def covid_minus_normal(features, settings):
    kernel, _ = fit_head(features, settings)
    return kernel[:, COVID] - kernel[:, NORMAL]


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def shortcut(direction):
    """Return how much of the shortcut a direction has for what it has of the disease."""
    return abs(direction @ SHORTCUT) / (direction @ DISEASE)


def test_the_head_has_less_of_the_shortcut_than_a_fitted_one(features, settings):
    known = features.y_true != PNEUMONIA
    fitted = LogisticRegression(class_weight="balanced").fit(features.plain[known], features.y_true[known] == COVID)
    found = covid_minus_normal(features, settings)
    assert shortcut(fitted.coef_[0]) > 0.3, "there is one to find"
    assert found @ DISEASE > 0
    assert shortcut(found) < 0.5 * shortcut(fitted.coef_[0])


def test_every_part_that_no_collection_can_fake_takes_of_the_shortcut(features, settings):
    bare = RobustHead(**ALONE, inverse_regularisation=settings.inverse_regularisation)
    least = shortcut(covid_minus_normal(features, bare))
    for part in ("within", "opacities"):
        assert shortcut(covid_minus_normal(features, bare.model_copy(update={part: 10.0}))) < 0.6 * least
    assert shortcut(covid_minus_normal(features, bare.model_copy(update={"contrast": 1.0}))) > least


def test_the_bare_direction_is_the_difference_of_means_with_every_origin_counting_the_same(features):
    """The kernel is per feature, the difference per standard deviation: it is divided by the variance."""
    chosen = np.ones(len(features.y_true), bool)
    chosen[np.flatnonzero(features.origins == "d")[LEAST + 10 :]] = False
    fewer = Features(features.plain[chosen], features.opaque[chosen], features.y_true[chosen], features.origins[chosen])
    means = [
        np.mean([cell(fewer, origin, label).mean(axis=0) for origin, of in CELLS if of == label], axis=0)
        for label in (COVID, NORMAL)
    ]
    expected = (means[0] - means[1]) / fewer.plain.var(axis=0)
    assert cosine(covid_minus_normal(fewer, RobustHead(**ALONE, inverse_regularisation=1)), expected) > 0.9999


def cell(features, origin, label):
    return features.plain[(features.origins == origin) & (features.y_true == label)]


def test_pneumonia_never_decides_between_the_other_two(features):
    """Another evidence of pneumonia, by another regularisation, leaves COVID-19 against normal as it was."""
    weak, strong = (
        RobustHead(within=1, opacities=10, contrast=0, inverse_regularisation=value) for value in (1e-4, 10)
    )
    (one, _), (other, _) = fit_head(features, weak), fit_head(features, strong)
    pneumonia = [kernel[:, PNEUMONIA] - kernel[:, NORMAL] for kernel in (one, other)]
    assert cosine(*pneumonia) < 0.999, "a test of nothing"
    covid = [kernel[:, COVID] - kernel[:, NORMAL] for kernel in (one, other)]
    assert cosine(*covid) == pytest.approx(1, abs=1e-6)


def test_scores_are_of_the_classes_in_their_order(features, settings):
    kernel, bias = fit_head(features, settings)
    assert (kernel.shape, kernel.dtype) == ((WIDTH, len(LABELS)), np.float32)
    assert (bias.shape, bias.dtype) == ((len(LABELS),), np.float32)
    scores = features.plain @ kernel + bias
    for label in (NORMAL, PNEUMONIA, COVID):
        others = np.delete(scores, label, axis=1).max(axis=1)
        assert roc_auc_score(features.y_true == label, scores[:, label] - others) > 0.7
    assert np.abs(scores.mean(axis=1)).max() < 1e-4, "the mean over the classes is taken off"


def test_the_scale_is_fitted_with_every_class_counting_the_same(features, settings):
    """At the optimum of weighted cross-entropy the biases make the mean probability of each class a third."""
    kernel, bias = fit_head(features, settings)
    scores = (features.plain @ kernel + bias).astype(np.float64)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    by_class = [probabilities[features.y_true == label].mean(axis=0) for label in range(len(LABELS))]
    assert np.mean(by_class, axis=0) == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_kernel_and_bias_hold_the_standardisation(features, settings):
    """Features in other units, from another zero, get the same scores."""
    rng = np.random.default_rng(1)
    unit, zero = rng.uniform(0.2, 5, WIDTH).astype(np.float32), rng.uniform(-10, 10, WIDTH).astype(np.float32)
    moved = replace(features, plain=features.plain * unit + zero, opaque=features.opaque * unit + zero)
    received, expected = (
        given.plain @ kernel + bias for given in (moved, features) for kernel, bias in [fit_head(given, settings)]
    )
    assert np.ptp(expected) > 1
    assert received == pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize("label", [COVID, NORMAL])
def test_too_few_images_of_one_origin_are_an_error(features, settings, label):
    kept = [np.flatnonzero((features.origins == o) & (features.y_true == of)) for o, of in CELLS]
    rows = np.concatenate(
        [found[: LEAST - 1] if of == label else found for found, (_, of) in zip(kept, CELLS, strict=True)]
    )
    few = Features(features.plain[rows], features.opaque[rows], features.y_true[rows], features.origins[rows])
    with pytest.raises(ManifestError, match=f"Expected {LEAST} images of COVID-19 and of normal"):
        fit_head(few, settings)


def test_no_pneumonia_is_an_error(features, settings):
    rows = features.y_true != PNEUMONIA
    without = Features(features.plain[rows], features.opaque[rows], features.y_true[rows], features.origins[rows])
    with pytest.raises(ManifestError, match="images of pneumonia"):
        fit_head(without, settings)


def test_features_know_label_and_origin_of_their_records(records):
    rows = np.arange(2 * len(records), dtype=np.float32).reshape(-1, 2)
    features = features_of(rows, rows + 1, records)
    assert (features.plain == rows).all()
    assert (features.opaque == rows + 1).all()
    assert [LABELS[index] for index in features.y_true] == [record.label for record in records]
    assert list(features.origins) == [record.origin for record in records]
