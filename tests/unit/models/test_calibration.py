import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from sklearn.isotonic import IsotonicRegression

from models.calibration import (
    MAX_KNOTS,
    MIN_SLOPE,
    IsotonicCalibrator,
    PlattCalibrator,
    fit_calibrator,
    isotonic_means,
    logits,
)
from models.errors import CalibrationError
from models.metrics import auc, expected_calibration_error, xauc

KINDS = [("platt", "probability"), ("isotonic", "probability"), ("isotonic", "grade"), ("isotonic", "seconds")]


def sigmoid(numbers):
    return 1 / (1 + np.exp(-np.asarray(numbers, np.float64)))


def overconfident(num_rows=20_000, seed=0):
    """Predictions whose logit is twice the true one less 1, and labels by the truth."""
    generator = np.random.default_rng(seed)
    truth_logits = generator.normal(-1.0, 1.0, num_rows)
    labels = generator.uniform(size=num_rows) < sigmoid(truth_logits)
    return sigmoid(2 * truth_logits - 1).astype(np.float32), labels.astype(np.float32), sigmoid(truth_logits)


def sample(serves, num_rows=5_000, seed=0):
    """Predictions that err by a monotone function, and noisy labels."""
    predictions, labels, truth = overconfident(num_rows, seed)
    generator = np.random.default_rng(seed + 1)
    if serves == "probability":
        return predictions, labels
    if serves == "grade":
        return predictions, generator.beta(8 * truth, 8 * (1 - truth)).astype(np.float32)
    return 40 * predictions**2, (30 * truth * generator.exponential(size=num_rows)).astype(np.float32)


def fitted(method, serves, num_rows=5_000):
    predictions, labels = sample(serves, num_rows)
    return fit_calibrator(method, predictions, labels, np.ones(num_rows), serves), predictions, labels


def calibrated(calibrator, predictions):
    return calibrator(tf.constant(predictions, tf.float32)).numpy()


@hypothesis.settings(deadline=None)
@hypothesis.given(st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 9)), min_size=1, max_size=40))
def test_pooling_is_the_isotonic_regression(rows):
    values, weights = np.array(rows, np.float64).T
    means, sizes = isotonic_means(values, weights)
    oracle = IsotonicRegression().fit_transform(np.arange(len(values)), values, sample_weight=weights)
    np.testing.assert_allclose(np.repeat(means, sizes), oracle, rtol=1e-9, atol=1e-9)
    assert (np.diff(means) > 0).all()


def platt_oracle(predictions, labels, weights):
    """Platt 1999 as written: A and B that minimise the cross entropy against smoothed targets."""
    num_positive, num_negative = (weights * labels).sum(), (weights * (1 - labels)).sum()
    high, low = (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2)
    targets = labels * high + (1 - labels) * low
    scores = np.array([math.log(p / (1 - p)) for p in predictions.astype(np.float64)])

    def loss(parameters):
        z = -(parameters[0] * scores + parameters[1])
        return (weights * (targets * np.logaddexp(0, -z) + (1 - targets) * np.logaddexp(0, z))).mean()

    result = scipy.optimize.minimize(loss, [-1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    return -result.x


@pytest.mark.parametrize("soft", [False, True])
def test_platts_line_is_the_least_cross_entropy(soft):
    predictions, labels = sample("grade" if soft else "probability", num_rows=400, seed=3)
    weights = np.random.default_rng(5).uniform(0.1, 3.0, 400)
    calibrator = fit_calibrator("platt", predictions, labels, weights)
    np.testing.assert_allclose([calibrator.slope, calibrator.intercept], platt_oracle(predictions, labels, weights), atol=1e-5)


def test_platt_finds_the_line_that_was_bent():
    predictions, labels, truth = overconfident()
    calibrator = fit_calibrator("platt", predictions, labels, np.ones(len(labels)))
    assert calibrator.slope == pytest.approx(0.5, abs=0.02)
    assert calibrator.intercept == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(calibrated(calibrator, predictions), truth, atol=0.02)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_error_falls_on_other_rows_and_order_stays(method):
    calibrator, _, _ = fitted(method, "probability", num_rows=20_000)
    predictions, labels, _ = overconfident(seed=7)
    after = calibrated(calibrator, predictions)
    before_error, after_error = (expected_calibration_error(labels, values) for values in (predictions, after))
    assert before_error > 0.05
    assert after_error < 0.2 * before_error
    assert auc(labels, after) == pytest.approx(auc(labels, predictions), abs=1e-6)


@pytest.mark.parametrize("serves", ["grade", "seconds"])
def test_expected_values_come_right_on_other_rows(serves):
    calibrator, _, _ = fitted("isotonic", serves, num_rows=20_000)
    predictions, labels = sample(serves, num_rows=20_000, seed=9)
    after = calibrated(calibrator, predictions)
    order = np.argsort(predictions)
    for rows in np.array_split(order, 5):
        assert after[rows].mean() == pytest.approx(labels[rows].mean(), rel=0.06)
    assert abs(predictions.mean() - labels.mean()) > 0.1 * labels.mean()
    assert xauc(labels, after) == pytest.approx(xauc(labels, predictions), abs=1e-6)


@pytest.mark.parametrize(("method", "serves"), KINDS)
def test_calibrated_values_rise_and_stay_in_range(method, serves):
    calibrator, predictions, _ = fitted(method, serves)
    grid = np.linspace(0, 200 if serves == "seconds" else 1, 4_001, dtype=np.float32)
    values = calibrated(calibrator, grid)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert (np.diff(values[1:-1]) > 0).all()
    assert values[0] >= 0
    assert values[-1] <= (np.inf if serves == "seconds" else 1)
    assert len(np.unique(calibrated(calibrator, np.unique(predictions)))) > 0.999 * len(np.unique(predictions))


def test_knots_are_means_of_rows_in_bins_of_equal_mass():
    generator = np.random.default_rng(4)
    predictions = generator.permutation(np.linspace(0.001, 0.999, 50 * MAX_KNOTS))
    labels = (generator.uniform(size=len(predictions)) < predictions**2).astype(float)
    calibrator = fit_calibrator("isotonic", predictions, labels, np.ones(len(labels)))
    bins = np.array_split(np.argsort(predictions, kind="stable"), MAX_KNOTS)
    regression = IsotonicRegression().fit_transform(range(MAX_KNOTS), [labels[rows].mean() for rows in bins])
    for value, centre in zip(calibrator.values, calibrator.predictions, strict=True):
        block = [rows for rows, mean in zip(bins, regression, strict=True) if abs(mean * 0.999 + 0.001 * centre - value) < 1e-9]
        assert block
        assert np.concatenate([predictions[rows] for rows in block]).mean(dtype=np.float64) == pytest.approx(centre, rel=1e-6)
    assert len(calibrator.values) == len(np.unique(np.round(regression, 12)))


def test_lines_between_knots_by_hand():
    probability = IsotonicCalibrator([0.2, 0.6], [0.1, 0.5], 1.0)
    np.testing.assert_allclose(calibrated(probability, [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]), [0, 0.05, 0.1, 0.3, 0.5, 0.75, 1])
    seconds = IsotonicCalibrator([10.0, 20.0], [5.0, 30.0], math.inf)
    np.testing.assert_allclose(calibrated(seconds, [0.0, 2.0, 10.0, 15.0, 20.0, 40.0]), [0, 1, 5, 17.5, 30, 60])


@pytest.mark.parametrize(("method", "serves"), KINDS)
def test_a_weight_of_three_is_a_row_thrice_and_of_zero_none(method, serves):
    predictions, labels = sample(serves, num_rows=3_000)
    weights = np.random.default_rng(2).integers(0, 4, 3_000)
    unknown = np.where(weights > 0, labels, np.nan)
    weighted = fit_calibrator(method, predictions, unknown, weights, serves)
    if method == "isotonic":
        # The number of bins follows the rows, so a lone change of weights is compared: all twice is all once.
        again = fit_calibrator(method, predictions, unknown, 2.0 * weights, serves)
        np.testing.assert_allclose(again.values, weighted.values, rtol=1e-9)
        assert not np.allclose(
            calibrated(fit_calibrator(method, predictions, labels, np.ones(3_000), serves), predictions),
            calibrated(weighted, predictions),
        )
        return
    repeated = fit_calibrator(method, *(np.repeat(column, weights) for column in (predictions, labels)), np.ones(weights.sum()))
    assert (weighted.slope, weighted.intercept) == pytest.approx((repeated.slope, repeated.intercept), abs=1e-8)


def test_isotonic_means_of_weighted_rows_are_weighted():
    predictions, labels = np.full(100, 0.3), np.repeat([0.0, 1.0], 50)
    calibrator = fit_calibrator("isotonic", predictions, labels, np.repeat([3.0, 1.0], 50))
    assert calibrator.values == pytest.approx([0.999 * 0.25 + 0.001 * 0.3])


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_one_class_and_one_prediction_are_finite(method, label):
    for predictions in (np.full(60, 0.4), np.linspace(0, 1, 60)):
        calibrator = fit_calibrator(method, predictions, np.full(60, label), np.ones(60))
        values = calibrated(calibrator, np.linspace(0, 1, 11))
        assert np.isfinite(values).all()
        assert ((values >= 0) & (values <= 1)).all()
        assert abs(values[5] - label) < 0.26


def test_a_ranking_is_never_reversed():
    predictions, labels, _ = overconfident()
    backwards = fit_calibrator("platt", predictions, 1 - labels, np.ones(len(labels)))
    assert backwards.slope == MIN_SLOPE
    assert calibrated(backwards, predictions).mean() == pytest.approx(1 - labels.mean(), abs=1e-3)
    values = calibrated(fit_calibrator("isotonic", predictions, 1 - labels, np.ones(len(labels))), np.sort(predictions))
    assert (np.diff(values) >= -1e-7).all()


def test_extreme_probabilities_have_finite_logits():
    assert np.isfinite(logits([0.0, 1.0])).all()
    np.testing.assert_allclose(logits([0.5, 0.25]), [0, -math.log(3)])
    assert np.isfinite(calibrated(PlattCalibrator(2.0, 1.0), [0.0, 1.0])).all()


@pytest.mark.parametrize(("method", "serves"), KINDS)
def test_a_saved_calibrator_holds_constants_alone(method, serves, tmp_path):
    calibrator, predictions, _ = fitted(method, serves)
    module = tf.Module()
    module.serve = tf.function(calibrator, input_signature=[tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(loaded.serve(tf.constant(predictions)), calibrated(calibrator, predictions))
    assert tf.train.list_variables(str(tmp_path / "variables" / "variables")) == [("_CHECKPOINTABLE_OBJECT_GRAPH", [])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("beta", [0.5], [1.0], [1.0]), "calibration must be platt or isotonic, of seconds isotonic. Received: beta"),
        (("platt", [0.5], [1.0], [1.0], "seconds"), "of seconds isotonic. Received: platt"),
        (("platt", [0.5], [1.0], [0.0]), "calibration needs rows with a known label. Received: none"),
        (
            ("isotonic", [0.5, 1.5], [1.0, 1.0], [1.0, 1.0]),
            "predictions to calibrate must be finite and within 0 and 1.0. .* 1.5",
        ),
        (("isotonic", [0.5], [9.0], [1.0]), "labels to calibrate must be finite and within 0 and 1.0. Received: 9.0"),
        (("isotonic", [0.5], [math.nan], [1.0], "seconds"), "labels to calibrate must be finite .* Received: nan"),
        (("isotonic", [0.0, 0.0], [1.0, 0.0], [1.0, 1.0]), "predictions to calibrate must not all be 0"),
    ],
)
def test_what_cannot_be_calibrated_is_named(arguments, message):
    with pytest.raises(CalibrationError, match=message):
        fit_calibrator(*arguments)
