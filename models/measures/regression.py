"""Measures of amounts, such as seconds: absolute error, and the order of pairs.

Shapes: N rows, P pairs.
"""

import numpy as np

from models.errors import MetricError
from models.measures.concordance import concordance
from models.measures.rows import weighted_rows
from models.measures.statistic import RowStatistic, Statistic, SumStatistic, defined, ratio_of_means

NO_PAIR = "no pair of rows differs in truth"

# Random pairs behind a bootstrap of XAUC: enough that their own noise, which two models on the same rows share, stays well
# below that of the users.
NUM_PAIRS = 200_000


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


class _RandomPairs(RowStatistic):
    """Share of random pairs in the right order: at a cost that does not grow with the rows."""

    def __init__(self, rows, seed):
        pairs = np.random.default_rng(seed).integers(len(rows.truths), size=(2, NUM_PAIRS))
        pairs = pairs[:, rows.truths[pairs[0]] != rows.truths[pairs[1]]]
        if not pairs.size:
            raise MetricError(f"none of {NUM_PAIRS:,} random pairs of rows differs in truth: XAUC has no interval")
        super().__init__(pairs)
        true_order_P, order_P = (np.sign(values[pairs[0]] - values[pairs[1]]) for values in (rows.truths, rows.predictions))
        self._weights_P = rows.weights[pairs[0]] * rows.weights[pairs[1]]
        self._concordant_P = self._weights_P * (1 + true_order_P * order_P) / 2

    def value_of(self, counts):
        counts_P = counts[0] * counts[1]
        total = counts_P @ self._weights_P
        return counts_P @ self._concordant_P / total if total > 0 else np.nan


class _Xauc(Statistic):
    """Exact on the rows as they are; a replicate differs from that by as much as it does on random pairs."""

    def __init__(self, rows, seed):
        self._rows = rows
        self._seed = seed
        self._value = concordance(rows.truths, rows.predictions, rows.weights)

    @property
    def value(self):
        return self._value

    def resampled(self, clusters):
        pairs = _RandomPairs(self._rows, self._seed)
        values_fn, shift = pairs.resampled(clusters), self._value - pairs.value
        return lambda counts_RC: np.clip(values_fn(counts_RC) + shift, 0.0, 1.0)


def xauc_statistic(rows, seed=0):
    """XAUC as a statistic.

    Args:
        rows: `Rows`.
        seed: of the random pairs behind the replicates of a bootstrap, which go by the number of rows alone.

    Returns:
        `Statistic`; its value does not depend on the seed.
    """
    return _Xauc(rows, seed)


def xauc(truths, predictions, weights=None):
    """Share of the pairs of different truth that predictions order as the truth does; ties in prediction count half.

    Args:
        truths: (rows,) float, such as seconds.
        predictions: (rows,) float.
        weights: (rows,) of at least 0, 0 where the truth is unknown; a pair weighs the product of its rows'. None for 1.

    Returns:
        Float in [0, 1].

    Raises:
        MetricError: If no two rows differ in truth.

    Reference:
        Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation", KDD 2022, eq. 10.
    """
    return defined(xauc_statistic(weighted_rows(truths, predictions, weights)), NO_PAIR)
