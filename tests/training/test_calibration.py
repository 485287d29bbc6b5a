import json
from dataclasses import asdict

import numpy as np
import pytest
from crepes import WrapClassifier
from venn_abers import VennAbers

from covidcxr.labels import PointName
from covidcxr.prediction.conformal import Conformal
from covidcxr.training.calibration import (
    COVERAGE,
    FEWEST,
    MARGIN,
    TEMPERATURES,
    calibrate,
    fit_temperature,
    interval_steps,
    operating_points,
    set_thresholds,
    tempered,
)


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def drawn(logits, seed=0):
    """Draw a class for every row of logits with the probabilities that they stand for."""
    rng = np.random.default_rng(seed)
    return (rng.random((len(logits), 1)) > softmax(logits).cumsum(axis=1)).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_recovered(temperature):
    logits = np.random.default_rng(1).normal(0, 2, (20_000, 3))
    fitted = fit_temperature(drawn(logits), softmax(logits * temperature))
    assert fitted == pytest.approx(temperature, rel=0.05)


def test_the_temperature_divides_the_logits_whatever_their_constant():
    logits = np.random.default_rng(2).normal(0, 3, (50, 3))
    assert tempered(softmax(logits + 7), 2.0) == pytest.approx(softmax(logits / 2))
    assert tempered(softmax(logits), 1.0) == pytest.approx(softmax(logits))


def test_probabilities_of_0_and_a_validation_without_mistakes_stay_finite():
    y_score = np.array([[1.0, 0.0, 0.0], [0.0, 0.9, 0.1]])
    assert np.isfinite(tempered(y_score, 3.0)).all()
    assert TEMPERATURES[0] <= fit_temperature(np.array([0, 1]), y_score) < 0.3
    assert np.isfinite(fit_temperature(np.array([2, 1]), y_score))


def case(n=400, seed=3):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    return truth, np.clip(rng.normal(0.35 + 0.25 * truth, 0.15), 0.01, 0.99)


def rates(truth, score, threshold):
    return (score[truth] >= threshold).mean(), (score[~truth] < threshold).mean()


def test_screening_is_the_largest_threshold_that_finds_95_percent():
    truth, score = case()
    screening, _ = operating_points(truth, score, np.arange(len(truth)).astype(str))
    assert screening.name is PointName.SCREENING
    assert (screening.sensitivity, screening.specificity) == rates(truth, score, screening.threshold)
    assert screening.sensitivity >= 0.95
    assert rates(truth, score, screening.threshold + 2 * MARGIN)[0] < 0.95
    assert rates(truth, score + np.where(truth, -0.9 * MARGIN, 0), screening.threshold)[0] >= 0.95, "float32 can differ"


def test_19_of_20_are_95_percent():
    score = np.linspace(0.99, 0.01, 40)
    truth = np.isin(np.arange(40), [*range(19), 39])
    screening, _ = operating_points(truth, score, np.arange(40).astype(str))
    assert (screening.sensitivity, screening.specificity) == (0.95, 1.0)


def test_balanced_has_the_largest_youden_index():
    truth, score = case()
    _, balanced = operating_points(truth, score, np.arange(len(truth)).astype(str))
    assert balanced.name is PointName.BALANCED
    best = max(sum(rates(truth, score, threshold)) for threshold in np.linspace(0, 1, 5001))
    assert balanced.sensitivity + balanced.specificity >= best
    assert (balanced.sensitivity, balanced.specificity) == rates(truth, score, balanced.threshold)


def test_ties_go_to_the_higher_sensitivity():
    """Three of each kind; thresholds of 0.6 (2/3 and 3/3) and of 0.2 (3/3 and 2/3) have the same index."""
    truth = np.array([True, True, False, True, False, False])
    score = np.array([0.9, 0.6, 0.4, 0.2, 0.1, 0.05])
    _, balanced = operating_points(truth, score, np.arange(6).astype(str))
    assert balanced.threshold == pytest.approx(0.2, abs=2 * MARGIN)
    assert (balanced.sensitivity, balanced.specificity) == pytest.approx((1, 2 / 3))


def test_intervals_are_over_groups():
    truth, score = (np.repeat(values, 8) for values in case(60))
    alone = operating_points(truth, score, np.arange(480).astype(str))
    together = operating_points(truth, score, np.repeat(np.arange(60), 8).astype(str))
    for one, grouped in zip(alone, together, strict=True):
        assert (one.images, one.groups, grouped.images, grouped.groups) == (480, 480, 480, 60)
        assert one.threshold == grouped.threshold
        assert np.ptp(grouped.specificity_interval) > 2 * np.ptp(one.specificity_interval)
        assert grouped.sensitivity_interval[0] <= grouped.sensitivity <= grouped.sensitivity_interval[1]


def write(path, labels, y_true, y_score):
    probabilities = [",".join(map(str, row)) for row in y_score]
    rows = [f"i{i},g{i // 2},{labels[k]},{probabilities[i]}" for i, k in enumerate(y_true)]
    path.write_text("\n".join([f"id,group,y_true,{','.join(labels)}", *rows]) + "\n")


def test_a_file_is_calibrated_after_the_temperature(tmp_path):
    logits = np.random.default_rng(4).normal(0, 2, (600, 3))
    y_true = drawn(logits)
    write(tmp_path / "v.csv", ("normal", "pneumonia", "covid"), y_true, softmax(logits * 2))
    calibration = calibrate(tmp_path / "v.csv")
    assert calibration.temperature == pytest.approx(2, rel=0.25)
    score = softmax(logits * 2 / calibration.temperature)[:, 2]
    for point in calibration.operating_points:
        assert (point.sensitivity, point.specificity) == rates(y_true == 2, score, point.threshold)
        assert (point.images, point.groups) == (600, 300)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(("normal", "pneumonia"), (0, 1)), (("normal", "covid"), (0, 0)), (("normal", "covid"), (1, 1))],
)
def test_no_operating_points_where_there_is_nothing_to_tell_apart(tmp_path, labels, classes):
    write(tmp_path / "v.csv", labels, classes, [[0.7, 0.3], [0.4, 0.6]])
    calibration = calibrate(tmp_path / "v.csv")
    assert calibration.operating_points == ()
    assert calibration.conformal is None


def cases(n, seed):
    logits = np.random.default_rng(seed).normal(0, 1.5, (n, 3))
    return drawn(logits, seed), softmax(logits)


def sets_of(thresholds, y_score):
    conformal = Conformal(coverage=COVERAGE, thresholds=thresholds, images=(), scores=(), low=(), high=())
    possible = np.zeros(y_score.shape, int)
    for row, indices in zip(possible, map(conformal.prediction_set, y_score), strict=True):
        row[list(indices)] = 1
    return possible


class GivenProbabilities:
    """A learner whose input already is the probabilities."""

    classes_ = np.arange(3)

    def predict_proba(self, y_score):
        return y_score


@pytest.mark.parametrize("n", [12, 100, 400])
def test_the_sets_are_those_of_crepes(n):
    y_true, y_score = cases(n, seed=5)
    crepes = WrapClassifier(GivenProbabilities())
    crepes.calibrate(y_score, y_true, class_cond=True)
    _, others = cases(500, seed=6)
    both = np.concatenate([y_score, others])
    thresholds = set_thresholds(y_true, y_score)
    expected = crepes.predict_set(both, labels=False, confidence=COVERAGE, smoothing=False)
    assert (sets_of(thresholds, both) == expected).all()
    assert (sets_of(thresholds, y_score - 0.9 * MARGIN)[expected[:n] == 1] == 1).all(), "float32 can differ"


def test_the_sets_hold_the_true_class_as_often_as_they_promise():
    covered = []
    for seed in range(100):
        y_true, y_score = cases(700, seed)
        possible = sets_of(set_thresholds(y_true[:300], y_score[:300]), y_score[300:])
        true = y_true[300:]
        covered.append([possible[true == label, label].mean() for label in range(3)])
    assert np.mean(covered, axis=0) == pytest.approx(COVERAGE, abs=0.015)


def test_the_steps_are_the_interval_of_venn_abers():
    truth, score = case(500)
    scores, low, high = interval_steps(truth, score)
    conformal = Conformal(
        coverage=0.9, thresholds=(), images=(), scores=tuple(scores), low=tuple(low), high=tuple(high)
    )
    assert scores[0] == 0
    assert (np.diff(scores) > 0).all()
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) >= 0).all()
    anywhere = np.random.default_rng(8).random(500)
    with np.errstate(divide="ignore", invalid="ignore"):
        library = VennAbers().fit(np.column_stack([1 - score, score]), truth.astype(int))
        calibrated, ends = library.predict_proba(np.column_stack([1 - anywhere, anywhere]))
    received = np.array([conformal.interval(value) for value in anywhere])
    assert received == pytest.approx(ends, abs=2e-6)
    assert (received[:, 0] <= calibrated[:, 1]).all()
    assert (calibrated[:, 1] <= received[:, 1]).all()


def test_images_of_one_patient_count_once(tmp_path):
    y_true, y_score = cases(400, seed=9)
    groups = np.where(y_true == 1, 0, np.arange(400))  # all other pneumonia is of one patient
    rows = [
        f"i,g{groups[i]},{('normal', 'pneumonia', 'covid')[k]},{','.join(map(str, y_score[i]))}"
        for i, k in enumerate(y_true)
    ]
    (tmp_path / "v.csv").write_text("\n".join(["id,group,y_true,normal,pneumonia,covid", *rows]) + "\n")
    assert calibrate(tmp_path / "v.csv").conformal is None, f"fewer than {FEWEST} patients of a class"


def test_a_file_gives_sets_and_intervals_that_fit_into_a_model_file(tmp_path):
    logits = np.random.default_rng(10).normal(0, 2, (4000, 3))
    write(tmp_path / "v.csv", ("normal", "pneumonia", "covid"), drawn(logits), softmax(logits))
    conformal = calibrate(tmp_path / "v.csv").conformal
    assert sum(conformal.images) == 2000
    text = json.dumps(asdict(conformal))
    assert len(text) < 40_000
    assert Conformal.from_dict(json.loads(text)) == conformal
