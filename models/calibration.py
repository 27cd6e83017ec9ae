"""Calibration of served values on rows that the ranker was not trained on, as a part of the served graph.

Shapes: B batch, N rows, K knots.
"""

from abc import ABC, abstractmethod

import numpy as np
import tensorflow as tf

from models.errors import CalibrationError
from models.heads.config import PROBABILITY, SECONDS

# Knots of an isotonic table, each the mean of at least so many rows.
MAX_KNOTS = 200
ROWS_PER_KNOT = 50
# Share of the plain prediction in a calibrated one: where the data say "flat", the order of predictions stays.
ORDER_SHARE = 1e-3

# A probability nearer to 0 or 1 has no logit in float32.
PROBABILITY_FLOOR = 1e-7
# Predictions against the labels' order are flattened, never reversed.
MIN_SLOPE = 1e-2
_NEWTON_STEPS = 100
_NEWTON_TOLERANCE = 1e-10
_RIDGE = 1e-12
_MIN_STEP = 1e-10


def fit_calibrator(method, predictions, labels, weights, serves=PROBABILITY):
    """Calibrator that maps predictions to what was observed for them, strictly increasing.

    Args:
        method: "platt" or "isotonic".
        predictions: (rows,) float of at least 0, served values without calibration.
        labels: (rows,) float, in the unit of the predictions; not read where the weight is 0.
        weights: (rows,) float of at least 0; 0 where the label is unknown.
        serves: what the head serves, as `models.heads.config` has it; all but "seconds" lies within 0 and 1.

    Returns:
        `Calibrator`.

    Raises:
        CalibrationError: If the method is unknown or has no meaning for seconds, no row has a weight, or predictions or
            labels lie outside their range.
    """
    limit = np.inf if serves == SECONDS else 1.0
    if method not in ("platt", "isotonic") or (method == "platt" and serves == SECONDS):
        raise CalibrationError(f"calibration must be platt or isotonic, of seconds isotonic. Received: {method}")
    predictions_N, labels_N, weights_N = (np.asarray(values, np.float64) for values in (predictions, labels, weights))
    is_known_N = weights_N > 0
    if not is_known_N.any():
        raise CalibrationError("calibration needs rows with a known label. Received: none")
    predictions_N, labels_N, weights_N = predictions_N[is_known_N], labels_N[is_known_N], weights_N[is_known_N]
    for name, values_N in (("predictions", predictions_N), ("labels", labels_N)):
        is_inside_N = np.isfinite(values_N) & (values_N >= 0) & (values_N <= limit)
        if not is_inside_N.all():
            raise CalibrationError(
                f"{name} to calibrate must be finite and within 0 and {limit}. Received: {values_N[~is_inside_N][0]}"
            )
    if method == "platt":
        return PlattCalibrator(*_platt_line(logits(predictions_N), labels_N, weights_N))
    return IsotonicCalibrator(*_isotonic_knots(predictions_N, labels_N, weights_N), limit)


class Calibrator(tf.Module, ABC):
    """A strictly increasing function of served values; its numbers are constants of the graph that it is called in."""

    @abstractmethod
    def __call__(self, predictions):
        """Calibrated values, (batch,) float32 in the unit of the predictions, of (batch,) served values of at least 0."""


class PlattCalibrator(Calibrator):
    """A line through the logits of probabilities.

    Attributes:
        slope: as given.
        intercept: as given.

    Reference:
        Platt, "Probabilistic Outputs for Support Vector Machines", 1999: p = 1 / (1 + exp(A f + B)), here with the logit of
        the prediction as f, A = -slope and B = -intercept.
    """

    def __init__(self, slope, intercept):
        """A calibrator with known numbers.

        Args:
            slope: positive.
            intercept: of the logit.
        """
        super().__init__()
        self.slope = float(slope)
        self.intercept = float(intercept)

    def __call__(self, predictions):
        """Calibrated probabilities.

        Args:
            predictions: (batch,) float32 within 0 and 1.

        Returns:
            (batch,) float32 within 0 and 1.
        """
        clipped_B = tf.clip_by_value(predictions, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
        return tf.sigmoid(self.slope * (tf.math.log(clipped_B) - tf.math.log1p(-clipped_B)) + self.intercept)


class IsotonicCalibrator(Calibrator):
    """Straight lines between knots; below the first through the origin, beyond the last towards the limit.

    Attributes:
        predictions: (knots,) float64.
        values: (knots,) float64, calibrated values at the knots.
        limit: as given.

    Reference:
        Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", KDD 2002; a
        block of equal values is one knot at its mean as in Oron and Flournoy, "Centered Isotonic Regression", Statistics in
        Biopharmaceutical Research 2017, section 2.2, so that the table is strictly increasing between blocks.
    """

    def __init__(self, predictions, values, limit):
        """A calibrator with known knots.

        Args:
            predictions: (knots,) float, strictly increasing and positive.
            values: (knots,) float, strictly increasing and positive.
            limit: largest value that can be served and is served for itself, 1; infinite for seconds, where the last knot's
                ratio goes on.
        """
        super().__init__()
        self.predictions = np.asarray(predictions, np.float64)
        self.values = np.asarray(values, np.float64)
        self.limit = float(limit)

    def __call__(self, predictions):
        """Calibrated values.

        Args:
            predictions: (batch,) float32 of at least 0.

        Returns:
            (batch,) float32 of at least 0, at most `limit` where the prediction is.
        """
        x_K, y_K = np.append(0.0, self.predictions), np.append(0.0, self.values)
        beyond = y_K[-1] / x_K[-1] if np.isinf(self.limit) else (self.limit - y_K[-1]) / max(self.limit - x_K[-1], 1e-9)
        slope_K = np.append(np.diff(y_K) / np.diff(x_K), beyond)
        # One look-up a row: which line, then its three numbers.
        line_B = tf.searchsorted(tf.constant(self.predictions, tf.float32), predictions, side="right")
        lines_K3 = tf.constant(np.stack([x_K, y_K, slope_K], axis=1), tf.float32)
        x_B, y_B, slope_B = tf.unstack(tf.gather(lines_K3, line_B), axis=1)
        return y_B + slope_B * (predictions - x_B)


def logits(probabilities):
    """Logits of probabilities, as the served graph takes them.

    Args:
        probabilities: (rows,) float within 0 and 1; nearer to them than 1e-7 counts as that.

    Returns:
        (rows,) float64.
    """
    clipped_N = np.clip(probabilities, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return np.log(clipped_N) - np.log1p(-clipped_N)


def isotonic_means(values, weights):
    """Non-decreasing sequence nearest to values in weighted squares: neighbours that fall are pooled to their mean.

    Args:
        values: (bins,) float.
        weights: (bins,) positive float.

    Returns:
        Means (blocks,), strictly increasing, and number of values (blocks,) int in each.

    Reference:
        Ayer et al., "An Empirical Distribution Function for Sampling with Incomplete Information", 1955: pool adjacent
        violators.
    """
    blocks = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (above, above_weight, above_size), (below, below_weight, below_size) = blocks.pop(), blocks.pop()
            weight = below_weight + above_weight
            blocks.append(((below * below_weight + above * above_weight) / weight, weight, below_size + above_size))
    return np.array([mean for mean, _, _ in blocks]), np.array([size for _, _, size in blocks])


def _isotonic_knots(predictions_N, labels_N, weights_N):
    """Mean prediction and calibrated value of every block of bins of equal mass; equal predictions share a bin."""
    _, tie_N = np.unique(predictions_N, return_inverse=True)
    mass = np.bincount(tie_N, weights_N)
    num_bins = np.clip(len(predictions_N) // ROWS_PER_KNOT, 1, MAX_KNOTS)
    bin_of_distinct = np.floor((np.cumsum(mass) - mass / 2) / mass.sum() * num_bins).astype(int)
    # Bins that one large tie leaves empty fall away.
    _, bin_of_distinct = np.unique(bin_of_distinct, return_inverse=True)
    bin_N = bin_of_distinct[tie_N]
    weight = np.bincount(bin_N, weights_N)
    prediction, label = (np.bincount(bin_N, weights_N * values_N) / weight for values_N in (predictions_N, labels_N))
    means, sizes = isotonic_means(label, weight)
    starts = np.cumsum(sizes) - sizes
    centre = np.add.reduceat(weight * prediction, starts) / np.add.reduceat(weight, starts)
    # A knot at 0 says nothing about ratios, and the line through the origin is there already.
    is_positive = centre > 0
    if not is_positive.any():
        raise CalibrationError("predictions to calibrate must not all be 0. Received: 0 in every row")
    centre, means = centre[is_positive], means[is_positive]
    return centre, (1 - ORDER_SHARE) * means + ORDER_SHARE * centre


def _platt_line(logits_N, labels_N, weights_N):
    """Slope and intercept of least cross entropy against Platt's smoothed targets.

    Targets are (N+ + 1) / (N+ + 2) for 1 and 1 / (N- + 2) for 0, a grade lies between, with N+ and N- the weight of both;
    so one class alone, or classes that a threshold parts, have a finite answer (Platt 1999, section 2.2).
    """
    positive, negative = (weights_N * labels_N).sum(), (weights_N * (1 - labels_N)).sum()
    target_N = labels_N * (positive + 1) / (positive + 2) + (1 - labels_N) / (negative + 2)
    share_N = weights_N / weights_N.sum()
    base = np.log(positive + 1) - np.log(negative + 1)
    slope, intercept = _newton(np.stack([logits_N, np.ones_like(logits_N)], axis=1), 0.0, target_N, share_N, [0.0, base])
    if slope >= MIN_SLOPE:
        return slope, intercept
    (intercept,) = _newton(np.ones((len(logits_N), 1)), MIN_SLOPE * logits_N, target_N, share_N, [base])
    return MIN_SLOPE, intercept


def _newton(columns_ND, offset_N, target_N, share_N, start):
    """Coefficients of a logistic regression by Newton's method with halved steps.

    Reference: Lin, Lin and Weng, "A Note on Platt's Probabilistic Outputs for Support Vector Machines", 2007, algorithm 1.
    """

    def loss_of(coefficients):
        z_N = columns_ND @ coefficients + offset_N
        return (share_N * (np.logaddexp(0.0, z_N) - target_N * z_N)).sum()

    coefficients = np.asarray(start, np.float64)
    loss = loss_of(coefficients)
    for _ in range(_NEWTON_STEPS):
        rate_N = 0.5 * (1 + np.tanh(0.5 * (columns_ND @ coefficients + offset_N)))
        gradient = columns_ND.T @ (share_N * (rate_N - target_N))
        if np.abs(gradient).max() < _NEWTON_TOLERANCE:
            return coefficients
        curvature_N = share_N * rate_N * (1 - rate_N)
        hessian = (columns_ND.T * curvature_N) @ columns_ND + _RIDGE * np.eye(columns_ND.shape[1])
        direction, step = -np.linalg.solve(hessian, gradient), 1.0
        while (lower := loss_of(coefficients + step * direction)) > loss + 1e-4 * step * gradient @ direction:
            step /= 2
            if step < _MIN_STEP:
                return coefficients
        coefficients, loss = coefficients + step * direction, lower
    return coefficients
