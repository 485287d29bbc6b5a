import numpy as np
import pytest

from covidcxr.artifact import PointName
from covidcxr.calibration import MARGIN, TEMPERATURES, calibrate, fit_temperature, operating_points, tempered


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
    assert calibrate(tmp_path / "v.csv").operating_points == ()
