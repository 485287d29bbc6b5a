import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve

from covidcxr.evaluation import metrics
from covidcxr.evaluation.metrics import Estimate, estimate


def data(n=200, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, classes, n)
    scores = rng.random((n, classes)) + np.eye(classes)[y_true] * 0.7
    return y_true, scores / scores.sum(axis=1, keepdims=True)


def value(metric, y_true, y_score, weight=None):
    (found,) = metric(y_true, y_score, np.ones((1, len(y_true))) if weight is None else weight[np.newaxis])
    return found


def test_metrics_against_their_definitions():
    y_true, y_score = data()
    predicted = y_score.argmax(axis=1)
    positive, called = y_true == 2, predicted == 2
    assert value(metrics.accuracy, y_true, y_score) == pytest.approx((predicted == y_true).mean())
    assert value(metrics.sensitivity(2), y_true, y_score) == pytest.approx(called[positive].mean())
    assert value(metrics.specificity(2), y_true, y_score) == pytest.approx((~called[~positive]).mean())
    assert value(metrics.ppv(2), y_true, y_score) == pytest.approx(positive[called].mean())
    assert value(metrics.auroc(2), y_true, y_score) == pytest.approx(roc_auc_score(positive, y_score[:, 2]))
    assert value(metrics.macro_f1, y_true, y_score) == pytest.approx(f1_score(y_true, predicted, average="macro"))


def test_sensitivity_at_a_specificity():
    negative, positive = np.linspace(0, 0.9, 10), np.array([0.85, 0.95, 0.4, 0.9])
    scores = np.concatenate([negative, positive])
    y_true = np.repeat([0, 1], [10, 4])
    y_score = np.stack([1 - scores, scores], axis=1)
    assert value(metrics.sensitivity_at(1, 0.9), y_true, y_score) == pytest.approx(3 / 4)  # one negative called
    assert value(metrics.sensitivity_at(1, 1.0), y_true, y_score) == pytest.approx(1 / 4)
    assert value(metrics.sensitivity_at(1, 0.0), y_true, y_score) == 1


def test_weights_count_as_repetitions():
    y_true, y_score = data(60)
    weight = np.random.default_rng(1).integers(0, 4, 60).astype(float)
    again = np.repeat(np.arange(60), weight.astype(int))
    measured = (metrics.accuracy, metrics.macro_f1, metrics.auroc(1), metrics.ppv(0), metrics.sensitivity_at(1, 0.8))
    for metric in (*measured, metrics.calibration_error):
        expected = value(metric, y_true[again], y_score[again])
        assert value(metric, y_true, y_score, weight) == pytest.approx(expected)


def test_curves_equal_scikit_learn():
    rng = np.random.default_rng(0)
    y_true, score = rng.integers(0, 2, 80), rng.integers(0, 12, 80) / 12  # with ties
    weights = rng.integers(0, 4, (20, 80)).astype(float)
    y_score = np.stack([1 - score, score], axis=1)
    areas = [roc_auc_score(y_true, score, sample_weight=weight) for weight in weights]
    assert metrics.auroc(1)(y_true, y_score, weights) == pytest.approx(areas)
    precisions = [average_precision_score(y_true, score, sample_weight=weight) for weight in weights]
    assert metrics.average_precision(1)(y_true, y_score, weights) == pytest.approx(precisions)
    curves = [roc_curve(y_true, score, sample_weight=weight, drop_intermediate=False) for weight in weights]
    best = [sensitivity[false_alarms <= 0.3].max() for false_alarms, sensitivity, _ in curves]
    assert metrics.sensitivity_at(1, 0.7)(y_true, y_score, weights) == pytest.approx(best)


def test_a_sample_without_a_class_has_no_area():
    assert np.isnan(metrics.area(np.array([False, True]), np.array([0.1, 0.2]), np.array([[1.0, 0.0]]))).all()


def test_calibration_error_of_a_known_case():
    y_score = np.array([[0.85, 0.15]] * 10)
    y_true = np.array([0] * 6 + [1] * 4)
    assert value(metrics.calibration_error, y_true, y_score) == pytest.approx(0.25)


def test_undefined_figures_are_nan_not_zero():
    y_true, y_score = np.zeros(5, int), np.array([[0.9, 0.1]] * 5)
    for metric in (metrics.auroc(1), metrics.sensitivity(1), metrics.ppv(1), metrics.average_precision(1)):
        assert np.isnan(value(metric, y_true, y_score))


def test_patients_with_many_images_widen_the_interval():
    """200 images that are 20 patients with ten equal images each carry the evidence of 20."""
    y_true, y_score = data(20, classes=2)
    repeated = np.repeat(np.arange(20), 10)
    alone = estimate({"a": metrics.accuracy}, y_true[repeated], y_score[repeated], np.arange(200).astype(str), seed=0)
    together = estimate({"a": metrics.accuracy}, y_true[repeated], y_score[repeated], repeated.astype(str), seed=0)
    width = [e["a"].high - e["a"].low for e in (alone, together)]
    assert width[1] > 2 * width[0]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, truth, hits = np.random.default_rng(0), 0.8, 0
    for seed in range(100):
        y_true = np.zeros(100, int)
        correct = rng.random(100) < truth
        y_score = np.where(correct[:, None], [0.9, 0.1], [0.1, 0.9])
        found = estimate({"a": metrics.accuracy}, y_true, y_score, np.arange(100).astype(str), seed=seed, resamples=120)
        hits += found["a"].low <= truth <= found["a"].high
    assert 87 <= hits <= 99


def test_a_perfect_ranking_of_few_is_not_certainty():
    """The sums of an AUROC round: resamples give 1 - 1e-16 as well as 1."""
    y_true = np.repeat([0, 1], [14, 5])
    y_score = np.stack([1 - np.linspace(0.1, 0.8, 19), np.linspace(0.1, 0.8, 19)], axis=1)
    found = estimate({"a": metrics.auroc(1)}, y_true, y_score, np.arange(19).astype(str), seed=0)["a"]
    assert found.value == pytest.approx(1)
    assert found.low == pytest.approx(0.025 ** (1 / 19), abs=1e-6)


def test_no_error_among_few_is_not_certainty():
    y_true, y_score = np.zeros(20, int), np.array([[0.9, 0.1]] * 20)
    found = estimate({"a": metrics.accuracy}, y_true, y_score, np.arange(20).astype(str), seed=0)["a"]
    assert found.value == found.high == 1
    assert found.low == pytest.approx(0.025 ** (1 / 20), abs=1e-6)


def test_ppv_at_a_prevalence_counts_people():
    """Of 1000 people 50 are ill: 45 of them and 95 of the 950 others are called."""
    found = metrics.ppv_at(0.05, Estimate(0.9, 0.8, 1.0), Estimate(0.9, 0.8, 1.0))
    assert found.value == pytest.approx(45 / (45 + 95))
    assert found.low == pytest.approx(40 / (40 + 190))
    assert found.high == 1
    assert np.isnan(metrics.ppv_at(0.05, Estimate(0.0, 0.0, 0.1), Estimate(1.0, 0.9, 1.0)).value)
