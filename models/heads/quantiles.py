"""Quantiles of weighted numbers.

Shapes: N numbers, V different ones, Q levels.
"""

import numpy as np


def weighted_quantiles(numbers, weights, levels):
    """Quantiles of an empirical distribution: each the smallest of the numbers that has its level's weight at or below it.

    Args:
        numbers: (numbers,) float, at least one.
        weights: (numbers,) positive float.
        levels: (levels,) float in [0, 1].

    Returns:
        (levels,) float, each one of the numbers.
    """
    numbers_N = np.asarray(numbers, np.float64)
    order_N = np.argsort(numbers_N, kind="stable")
    at_or_below_N = np.cumsum(np.asarray(weights, np.float64)[order_N])
    # Rounding must not let the level of a number's own weight fall to the number after it.
    reached_Q = np.searchsorted(at_or_below_N, np.asarray(levels) * at_or_below_N[-1] * (1 - 1e-12))
    return numbers_N[order_N][reached_Q]


def mid_quantiles(numbers, weights, levels):
    """Quantiles of an empirical distribution in which equal numbers share their middle rank.

    Between the middle ranks of neighbouring numbers they rise in proportion, so that a rank within a heavy number, such as the
    many zeros of watch times, is told from another.

    Args:
        numbers: (numbers,) float, at least one.
        weights: (numbers,) positive float.
        levels: (levels,) float in [0, 1].

    Returns:
        (levels,) float, constant below the middle rank of the smallest number and above that of the largest.

    Reference:
        Parzen, "Quantile Probability and Statistical Data Modeling", Statistical Science 19, 2004: the mid-distribution
        F(x) - P(X = x) / 2.
    """
    distinct_V, number_N = np.unique(np.asarray(numbers, np.float64), return_inverse=True)
    weight_V = np.bincount(number_N, weights)
    middle_V = (np.cumsum(weight_V) - weight_V / 2) / weight_V.sum()
    return np.interp(levels, middle_V, distinct_V)
