"""Measures of probabilities: log loss, normalised entropy, calibration error and the reliability curve.

Shapes: N rows, T ties, K bins.
"""

import dataclasses
import math

import numpy as np

from models.measures.ranking import ONE_CLASS
from models.measures.rows import weighted_rows
from models.measures.statistic import RowStatistic, SumStatistic, defined, ratio_of_means, whole_if_equal

NUM_CALIBRATION_BINS = 10
PROBABILITY_FLOOR = 1e-7

# Quantile of the normal distribution: 95% lie within it on both sides.
_Z = 1.959963984540054


def log_loss_statistic(rows):
    """Log loss as a statistic.

    Args:
        rows: `Rows` with labels and predictions in [0, 1].

    Returns:
        `Statistic`.
    """
    return SumStatistic(np.stack([rows.weights * _log_losses(rows), rows.weights], axis=1), ratio_of_means)


def log_loss(labels, predictions, weights=None):
    """Mean cross entropy of probabilities, clipped to [1e-7, 1 - 1e-7].

    Args:
        labels: (rows,) in [0, 1].
        predictions: (rows,) float in [0, 1].
        weights: (rows,) of at least 0, 0 where the label is unknown; None for 1.

    Returns:
        Float of at least 0.
    """
    return log_loss_statistic(weighted_rows(labels, predictions, weights)).value


def _log_losses(rows):
    clipped_N = np.clip(rows.predictions, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return -(rows.truths * np.log(clipped_N) + (1 - rows.truths) * np.log1p(-clipped_N))


def normalised_entropy_statistic(rows):
    """Normalised entropy as a statistic.

    Args:
        rows: `Rows` with labels and predictions in [0, 1].

    Returns:
        `Statistic`.
    """
    terms = rows.weights * np.stack([_log_losses(rows), rows.truths, np.ones(len(rows.truths))])
    return SumStatistic(terms.T, _relative_to_base_rate)


def _relative_to_base_rate(sums_RS):
    loss_R, rate_R = (sums_RS[:, :2] / sums_RS[:, 2:]).T
    entropy_R = -(rate_R * np.log(rate_R) + (1 - rate_R) * np.log1p(-rate_R))
    return np.where(entropy_R > 0, loss_R / entropy_R, np.nan)


def normalised_entropy(labels, predictions, weights=None):
    """Log loss over that of predicting the base rate for every row; below 1 is better than the base rate.

    Args:
        labels: (rows,) in {0, 1}.
        predictions: (rows,) float in [0, 1].
        weights: (rows,) of at least 0, 0 where the label is unknown; None for 1.

    Returns:
        Float of at least 0.

    Raises:
        MetricError: If the labels are of one class.

    Reference:
        He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014, eq. 3.
    """
    return defined(normalised_entropy_statistic(weighted_rows(labels, predictions, weights)), ONE_CLASS)


class _Bins(RowStatistic):
    """Rows in rising order of prediction, cut into bins of equal weight; its value is the calibration error.

    A cut may fall within a row, or among rows with equal predictions, which then share their mean label: neither the order of
    rows nor their splitting into several of less weight changes anything.
    """

    def __init__(self, rows, num_bins):
        order_N = np.argsort(rows.predictions, kind="stable")
        self._num_bins = num_bins
        self._predictions_N, self._labels_N = rows.predictions[order_N], rows.truths[order_N]
        self._gaps_N = self._predictions_N - self._labels_N
        self._weights_N = whole_if_equal(rows.weights)[order_N]
        tie_starts = np.flatnonzero(np.r_[True, np.diff(self._predictions_N) != 0])
        tie_sizes = np.diff(np.r_[tie_starts, len(order_N)])
        self._tie_start_N = np.repeat(tie_starts, tie_sizes)
        self._tie_end_N = np.repeat(tie_starts + tie_sizes, tie_sizes)
        super().__init__(order_N, self._weights_N.dtype)

    def sums(self, counts_N, *columns_N):
        """Total weight, and of each column its weighted sum in every bin (K,)."""
        weights_N = counts_N * self._weights_N
        before_N = np.zeros(len(weights_N) + 1, weights_N.dtype)
        np.cumsum(weights_N, out=before_N[1:])
        mass = float(before_N[-1])
        cuts = np.arange(1, self._num_bins) * (mass / self._num_bins)
        row = np.minimum(np.searchsorted(before_N, cuts, side="right") - 1, len(weights_N) - 1)
        start, end = self._tie_start_N[row], self._tie_end_N[row]
        # Running sums of floats over all rows would cost most of the time: only those at ties with a cut are needed.
        edges = np.unique(np.r_[0, start, end])
        share = (cuts - before_N[start]) / (before_N[end] - before_N[start])
        sums = []
        for column_N in columns_N:
            up_to_edge = np.r_[0.0, np.cumsum(np.add.reduceat(weights_N * column_N, edges[edges < len(weights_N)]))]
            at_start, at_end = (up_to_edge[np.searchsorted(edges, places)] for places in (start, end))
            sums.append(np.diff(np.r_[0.0, at_start + share * (at_end - at_start), up_to_edge[-1]]))
        return mass, sums

    def value_of(self, counts):
        if not counts.any():
            return np.nan
        mass, (gaps_K,) = self.sums(counts, self._gaps_N)
        return np.abs(gaps_K).sum() / mass

    def curve(self):
        """Mean prediction and mean label of every bin (K,)."""
        mass, means = self.sums(np.ones(len(self._weights_N), np.int64), self._predictions_N, self._labels_N)
        return [sums_K * self._num_bins / mass for sums_K in means]


def expected_calibration_error_statistic(rows, num_bins=NUM_CALIBRATION_BINS):
    """Calibration error as a statistic.

    Args:
        rows: `Rows` with labels and predictions in [0, 1].
        num_bins: at least 2.

    Returns:
        `Statistic`.

    Raises:
        ValueError: If `num_bins` is below 2.
    """
    if num_bins < 2:
        raise ValueError(f"num_bins must be at least 2. Received: num_bins={num_bins}")
    return _Bins(rows, num_bins)


def expected_calibration_error(labels, predictions, num_bins=NUM_CALIBRATION_BINS, weights=None):
    """Mean absolute gap between predicted and observed rate over bins of equal weight.

    Rows with equal predictions share their mean label, so that the order of rows does not matter where a bin's border
    falls among them.

    Args:
        labels: (rows,) in [0, 1].
        predictions: (rows,) float in [0, 1].
        num_bins: at least 2.
        weights: (rows,) of at least 0, 0 where the label is unknown; None for 1.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: If `num_bins` is below 2.

    Reference:
        Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015, section 4.1, with
        bins of equal mass.
    """
    return expected_calibration_error_statistic(weighted_rows(labels, predictions, weights), num_bins).value


@dataclasses.dataclass(frozen=True)
class ReliabilityBin:
    """Rows of like prediction.

    Attributes:
        predicted: their mean prediction.
        observed: their mean label.
        low: lower end of the 95% interval of the observed rate.
        high: upper end.
        num_rows: rows' worth of evidence: their number if all weigh the same, less if not; not whole where a row is cut.
    """

    predicted: float
    observed: float
    low: float
    high: float
    num_rows: float


def reliability_bins(labels, predictions, num_bins=NUM_CALIBRATION_BINS, weights=None):
    """Reliability curve over bins of equal weight, those of `expected_calibration_error`, in rising order of prediction.

    Args:
        labels: (rows,) in [0, 1]; of grades the intervals are wider than need be.
        predictions: (rows,) float in [0, 1].
        num_bins: at least 2.
        weights: (rows,) of at least 0, 0 where the label is unknown; None for 1.

    Returns:
        Tuple of `ReliabilityBin`.

    Raises:
        ValueError: If `num_bins` is below 2.

    Reference:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927: the interval of a rate;
        Kish, "Survey Sampling", 1965: (sum w)^2 / sum w^2 rows' worth of evidence.
    """
    rows = weighted_rows(labels, predictions, weights)
    predicted_K, observed_K = expected_calibration_error_statistic(rows, num_bins).curve()
    num_rows = rows.weights.sum() ** 2 / np.square(rows.weights).sum() / num_bins
    bins = []
    for predicted, observed in zip(predicted_K.tolist(), observed_K.tolist(), strict=True):
        low, high = wilson_interval(observed, num_rows)
        bins.append(ReliabilityBin(predicted, observed, low, high, num_rows))
    return tuple(bins)


def wilson_interval(rate, num_rows):
    """95% interval of a rate by the score test.

    Args:
        rate: observed, in [0, 1].
        num_rows: positive.

    Returns:
        Pair (low, high) within [0, 1].
    """
    spread = _Z * math.sqrt(max(rate * (1 - rate), 0.0) / num_rows + _Z**2 / (4 * num_rows**2))
    scale = 1 + _Z**2 / num_rows
    center = rate + _Z**2 / (2 * num_rows)
    return max((center - spread) / scale, 0.0), min((center + spread) / scale, 1.0)
