"""What chance alone makes of the distance between served rows and training rows.

Shapes: B resamples, G groups of users, C bins of a column's values, N values.
"""

import math

import numpy as np

_NUM_RESAMPLES = 1_000
# Users beyond that share groups: sums of users that are drawn together still vary as the users do.
_MOST_GROUPS = 1_000


def l_infinity(shares, other):
    """Largest difference of a bin's share.

    Args:
        shares: (..., C) floats that add up to 1.
        other: the same.

    Returns:
        (...) floats of [0, 1].
    """
    return np.abs(shares - other).max(axis=-1)


def jensen_shannon_divergence(shares, other):
    """Jensen-Shannon divergence in bits; unlike it, its square root is a metric.

    Args:
        shares: (..., C) floats that add up to 1.
        other: the same.

    Returns:
        (...) floats of [0, 1].

    Reference:
        Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 1991, eq. 4.1:
        JS(p, q) = H((p + q) / 2) - H(p) / 2 - H(q) / 2. Endres and Schindelin, "A new metric for probability distributions",
        IEEE Transactions on Information Theory 2003: its root obeys the triangle inequality.
    """
    gap = _entropy((shares + other) / 2) - _entropy(shares) / 2 - _entropy(other) / 2
    return np.clip(gap, 0.0, 1.0)


def jensen_shannon_distance(shares, other):
    """Square root of the Jensen-Shannon divergence.

    Args:
        shares: (..., C) floats that add up to 1.
        other: the same.

    Returns:
        (...) floats of [0, 1].
    """
    return np.sqrt(jensen_shannon_divergence(shares, other))


def _entropy(shares):
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(axis=-1)


class Resampling:
    """Resamples of the served rows by user: rows of one user are alike, and so are those of one answer."""

    def __init__(self, users, num_training_users, seed=0):
        """Draws the resamples.

        Args:
            users: (rows,) ids of the users, one a served row.
            num_training_users: users among the training rows.
            seed: of the draws.
        """
        rng = np.random.default_rng(seed)
        names, user_by_row = np.unique(np.asarray(users, object).astype(str), return_inverse=True)
        self._num_groups = min(len(names), _MOST_GROUPS)
        # In random order: users whose names are neighbours may be alike.
        self._group_by_row = (rng.permutation(len(names)) % self._num_groups)[user_by_row]
        even = np.full(self._num_groups, 1 / self._num_groups)
        self._weights_BG = rng.multinomial(self._num_groups, even, _NUM_RESAMPLES).astype(np.float64)
        self._scale = math.sqrt(1 + len(names) / num_training_users)

    def chance(self, rows, bins, distance_fn):
        """Largest distance, by a metric, that chance alone gives between training and served rows of one distribution.

        With p the distribution that is served, q that of training, s the served shares and t those of training, the triangle
        inequality says d(p, q) >= d(s, t) - d(s, p) - d(t, q). The sampling errors are unknown, but that of a resample s* from
        s is distributed as that of s from p: the largest d(s*, s) of 1,000 stands for d(s, p). Training rows are of m users as
        the served ones are of n, so their error is sqrt(n / m) of it, and both together sqrt(1 + n / m), as in a test of two
        samples. So d(s, t) - chance is a bound that lies above d(p, q) in about one of 1,000 cases.

        Args:
            rows: (N,) served row of each value.
            bins: (N,) bin of each value, from 0 on.
            distance_fn: metric of shares, as `l_infinity`.

        Returns:
            Float of at least 0; it may exceed 1, where nothing can be told.

        Reference:
            Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979, by clusters as in Davison and
            Hinkley, "Bootstrap methods and their application", 1997, section 3.8.
        """
        num_bins = int(bins.max()) + 1
        cells = self._group_by_row[rows] * num_bins + bins
        counts_GC = np.bincount(cells, minlength=self._num_groups * num_bins).reshape(self._num_groups, num_bins)
        counts_BC = self._weights_BG @ counts_GC.astype(np.float64)
        # A resample may hold nobody who has a value.
        counts_BC = counts_BC[counts_BC.sum(axis=1) > 0]
        served_C = counts_GC.sum(axis=0) / counts_GC.sum()
        return self._scale * float(distance_fn(counts_BC / counts_BC.sum(axis=1, keepdims=True), served_C).max())
