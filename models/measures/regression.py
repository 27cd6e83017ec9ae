"""Measures of amounts, such as seconds: absolute error, and the order of pairs.

Shapes: N rows, P pairs.
"""

import numpy as np

from models.errors import MetricError
from models.measures.rows import weighted_rows
from models.measures.statistic import RowStatistic, SumStatistic, ratio_of_means

NUM_PAIRS = 2_000_000


def mean_absolute_error_statistic(rows):
    """Absolute error as a statistic.

    Args:
        rows: `Rows`.

    Returns:
        `Statistic`.
    """
    errors_N = np.abs(rows.truths - rows.predictions)
    return SumStatistic(np.stack([rows.weights * errors_N, rows.weights], axis=1), ratio_of_means)


def mean_absolute_error(truths, predictions, weights=None):
    """Mean absolute error, in the unit of the truth.

    Args:
        truths: (rows,) float.
        predictions: (rows,) float.
        weights: (rows,) of at least 0, 0 where the truth is unknown; None for 1.

    Returns:
        Float of at least 0.
    """
    return mean_absolute_error_statistic(weighted_rows(truths, predictions, weights)).value


class _Xauc(RowStatistic):
    def __init__(self, rows, num_pairs, seed):
        pairs = np.random.default_rng(seed).integers(len(rows.truths), size=(2, num_pairs))
        pairs = pairs[:, rows.truths[pairs[0]] != rows.truths[pairs[1]]]
        if not pairs.size:
            raise MetricError("no pair of rows differs in truth")
        super().__init__(pairs)
        true_order_P, order_P = (np.sign(values[pairs[0]] - values[pairs[1]]) for values in (rows.truths, rows.predictions))
        self._weights_P = rows.weights[pairs[0]] * rows.weights[pairs[1]]
        self._concordant_P = self._weights_P * (1 + true_order_P * order_P) / 2

    def value_of(self, counts):
        counts_P = counts[0] * counts[1]
        total = counts_P @ self._weights_P
        return counts_P @ self._concordant_P / total if total > 0 else np.nan


def xauc_statistic(rows, num_pairs=NUM_PAIRS, seed=0):
    """XAUC as a statistic of the pairs that the seed draws.

    Args:
        rows: `Rows`.
        num_pairs: drawn with replacement; pairs with equal truth are dropped.
        seed: of the draw, which depends on the number of rows alone.

    Returns:
        `Statistic`.

    Raises:
        MetricError: If no drawn pair differs in truth.
    """
    return _Xauc(rows, num_pairs, seed)


def xauc(truths, predictions, num_pairs=NUM_PAIRS, seed=0, weights=None):
    """Share of random pairs of rows that predictions order as the truth does; ties in prediction count half.

    Args:
        truths: (rows,) float, such as seconds.
        predictions: (rows,) float.
        num_pairs: drawn with replacement; pairs with equal truth are dropped.
        seed: of the draw.
        weights: (rows,) of at least 0, 0 where the truth is unknown; a pair weighs the product of its rows'. None for 1.

    Returns:
        Float in [0, 1].

    Raises:
        MetricError: If no drawn pair differs in truth.

    Reference:
        Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation", KDD 2022, eq. 10.
    """
    return xauc_statistic(weighted_rows(truths, predictions, weights), num_pairs, seed).value
