"""A measure of fixed rows as a function of how often each row counts: once for its value, as drawn in a bootstrap.

Shapes: N rows, C clusters of rows, U units of rows, S sums, R replicates.
"""

from abc import ABC, abstractmethod

import numpy as np

from models.errors import MetricError


class Statistic(ABC):
    """A measure of fixed rows."""

    @property
    @abstractmethod
    def value(self):
        """The measure of the rows as they are; NaN where they do not define it."""

    @abstractmethod
    def resampled(self, clusters):
        """The measure as a function of how often each cluster of rows was drawn.

        Args:
            clusters: (rows,) integers from 0 on, such as users.

        Returns:
            Function from (replicates, clusters) counts to (replicates,) values, NaN where undefined.
        """


def defined(statistic, reason):
    """Value of a statistic.

    Args:
        statistic: `Statistic`.
        reason: why there is none where there is none.

    Returns:
        Finite float.

    Raises:
        MetricError: If the rows do not define it; the message is the reason.
    """
    value = statistic.value
    if np.isnan(value):
        raise MetricError(reason)
    return value


class SumStatistic(Statistic):
    """A function of sums over units of rows, such as the mean of a loss by row, or of an AUC by group.

    Args:
        terms: (units, sums) float64.
        value_fn: from (replicates, sums) to (replicates,).
        units: (rows,) unit of every row, integers from 0 on; None where every row is one.
    """

    def __init__(self, terms, value_fn, units=None):
        self._terms_US = terms
        self._value_fn = value_fn
        self._unit_N = units

    @property
    def value(self):
        """As `Statistic`."""
        return float(self._evaluate(self._terms_US.sum(axis=0, keepdims=True))[0])

    def resampled(self, clusters):
        """As `Statistic`; a unit is drawn with its cluster, so that its term stays what it is.

        Args:
            clusters: (rows,) integers from 0 on.

        Returns:
            Function from (replicates, clusters) counts to (replicates,) values.

        Raises:
            ValueError: If a unit holds rows of two clusters.
        """
        cluster_U = np.asarray(clusters)
        if self._unit_N is not None:
            cluster_U = np.zeros(len(self._terms_US), int)
            cluster_U[self._unit_N] = clusters
            if (cluster_U[self._unit_N] != clusters).any():
                raise ValueError("every group must hold rows of one user. Received: a group with rows of two")
        terms_CS = np.stack([np.bincount(cluster_U, terms_U) for terms_U in self._terms_US.T], axis=1)
        return lambda counts_RC: self._evaluate(counts_RC @ terms_CS)

    def _evaluate(self, sums_RS):
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._value_fn(sums_RS)


class RowStatistic(Statistic):
    """A measure that every row's weight enters anew, such as one over pairs of rows of different clusters.

    Args:
        rows: integer array of row indices, in the order and shape in which `value_of` wants the rows' counts.
        dtype: in which it wants them, int64 or float64.
    """

    def __init__(self, rows, dtype=np.float64):
        self._rows = rows
        self._dtype = dtype

    @abstractmethod
    def value_of(self, counts):
        """The measure where rows count several times.

        Args:
            counts: whole numbers of at least 0, of the shape of `rows`.

        Returns:
            Float; NaN where undefined.
        """

    @property
    def value(self):
        """As `Statistic`."""
        return float(self.value_of(np.ones(self._rows.shape, self._dtype)))

    def resampled(self, clusters):
        """As `Statistic`.

        Args:
            clusters: (rows,) integers from 0 on.

        Returns:
            Function from (replicates, clusters) counts to (replicates,) values.
        """
        cluster_of_rows = np.asarray(clusters)[self._rows]

        def values(counts_RC):
            # Nothing is out of range, and "clip" is the mode that need not look.
            return np.array(
                [self.value_of(counts_C.take(cluster_of_rows, mode="clip")) for counts_C in counts_RC.astype(self._dtype)]
            )

        return values


def whole_if_equal(weights):
    """Weights up to a factor: 1 in whole numbers if all are equal, whose running sums cost a tenth of those of floats.

    Args:
        weights: (rows,) positive float64, at least one.

    Returns:
        (rows,) int64 ones, or the weights.
    """
    return np.ones(len(weights), np.int64) if (weights == weights[0]).all() else weights


def ratio_of_means(sums):
    """First sum over the second.

    Args:
        sums: (replicates, 2) float64.

    Returns:
        (replicates,) float64; NaN where both are 0.
    """
    return sums[:, 0] / sums[:, 1]
