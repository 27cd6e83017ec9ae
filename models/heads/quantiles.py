"""Quantiles of weighted numbers.

Shapes: N numbers, Q levels.
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
