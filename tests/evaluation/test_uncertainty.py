import numpy as np
import pytest

from covidcxr.evaluation.metrics import value_of
from covidcxr.evaluation.uncertainty import ANSWERED, accuracy_of_surest, measure_sets, selective_accuracy
from covidcxr.labels import LABELS
from covidcxr.prediction.conformal import Conformal


def sets(*thresholds):
    return Conformal(coverage=0.9, thresholds=thresholds, images=(), scores=(), low=(), high=())


def images(n=300, seed=0):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, 3, n)
    y_score = rng.random((n, 3)) + np.eye(3)[y_true] * 0.5
    return y_true, y_score / y_score.sum(axis=1, keepdims=True), np.arange(n).astype(str)


def test_sets_are_counted_as_the_predictor_makes_them():
    y_true, y_score, groups = images()
    conformal = sets(0.3, 0.4, 0.35)
    measured = measure_sets(conformal, LABELS, y_true, y_score, groups, seed=0)
    made = [conformal.prediction_set(row) for row in y_score]
    for index, label in enumerate(LABELS):
        held = [index in one for one, true in zip(made, y_true, strict=True) if true == index]
        assert measured[f"coverage_{label}"].value == pytest.approx(np.mean(held))
        assert measured[f"coverage_{label}"].low < np.mean(held) < measured[f"coverage_{label}"].high
    sizes = np.array([len(one) for one in made])
    assert measured["mean_set_size"].value == pytest.approx(sizes.mean())
    for name, size in (("sets_of_one_class", 1), ("sets_of_all_classes", 3), ("empty_sets", 0)):
        assert measured[name].value == pytest.approx((sizes == size).mean())


def test_sets_that_hold_every_class_or_none_have_an_interval_too():
    y_true, y_score, groups = images(40)
    everything = measure_sets(sets(0, 0, 0), LABELS, y_true, y_score, groups, seed=0)
    assert (everything["mean_set_size"].value, everything["mean_set_size"].high) == (3, 3)
    assert everything["sets_of_all_classes"].value == everything["coverage_covid"].value == 1
    nothing = measure_sets(sets(1, 1, 1), LABELS, y_true, y_score, groups, seed=0)
    assert nothing["mean_set_size"].value == 0
    assert nothing["empty_sets"].value == 1


def test_the_surest_are_answered_first():
    y_score = np.array([[0.6, 0.4], [0.1, 0.9], [0.45, 0.55], [0.8, 0.2]])
    y_true = np.array([1, 1, 0, 0])
    accuracy = {share: value_of(accuracy_of_surest(share), y_true, y_score) for share in (0.25, 0.5, 0.75, 1.0)}
    assert accuracy == pytest.approx({0.25: 1, 0.5: 1, 0.75: 2 / 3, 1.0: 1 / 2})


def test_weights_count_as_repetitions():
    y_true, y_score, _ = images(60)
    weight = np.random.default_rng(1).integers(0, 4, 60).astype(float)
    again = np.repeat(np.arange(60), weight.astype(int))
    expected = value_of(accuracy_of_surest(1.0), y_true[again], y_score[again])
    assert accuracy_of_surest(1.0)(y_true, y_score, weight[np.newaxis]) == pytest.approx(expected)
    whole = np.repeat(np.arange(60), 2)
    expected = value_of(accuracy_of_surest(0.5), y_true[whole], y_score[whole])
    assert accuracy_of_surest(0.5)(y_true, y_score, np.full((1, 60), 2.0)) == pytest.approx(expected)


def test_accuracy_grows_where_the_sure_are_right():
    y_true, y_score, groups = images(1000)
    accuracies = selective_accuracy(y_true, y_score, groups, seed=0)
    assert tuple(accuracies) == ANSWERED
    assert accuracies[0.5].low > accuracies[1.0].high
