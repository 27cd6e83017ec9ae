"""The rows that a measure runs over, checked once.

Shapes: N rows.
"""

from typing import NamedTuple

import numpy as np

from models.errors import MetricError


class Rows(NamedTuple):
    """Rows with positive weight.

    Attributes:
        truths: (rows,) finite float64: labels, grades or seconds.
        predictions: (rows,) finite float64, in the unit of the truths.
        weights: (rows,) positive float64.
        keys: (rows,) integers from 0 on, groups of rows that belong together; None for none.
    """

    truths: np.ndarray
    predictions: np.ndarray
    weights: np.ndarray
    keys: np.ndarray | None = None


def weighted_rows(truths, predictions, weights=None, keys=None):
    """Rows that count.

    Args:
        truths: (rows,) numbers; anything where the weight is 0.
        predictions: (rows,) numbers; anything where the weight is 0.
        weights: (rows,) of at least 0; None for 1.
        keys: (rows,) values that equal each other within a group; None for none.

    Returns:
        `Rows`.

    Raises:
        ValueError: If lengths differ, a weight is negative or not finite, or a number that counts is not finite.
        MetricError: If no row has weight.
    """
    truths_N, predictions_N = np.asarray(truths, np.float64), np.asarray(predictions, np.float64)
    if truths_N.ndim != 1 or truths_N.shape != predictions_N.shape:
        raise ValueError(
            f"labels and predictions must be vectors of one length. Received: shapes {truths_N.shape} and {predictions_N.shape}"
        )
    weights_N = np.ones(len(truths_N)) if weights is None else np.asarray(weights, np.float64)
    keys_N = None if keys is None else np.asarray(keys)
    for name, column_N in (("weights", weights_N), ("groups", keys_N)):
        if column_N is not None and column_N.shape != truths_N.shape:
            raise ValueError(f"{name} must be a vector as long as the labels, {len(truths_N)}. Received: {column_N.shape}")
    if not (np.isfinite(weights_N) & (weights_N >= 0)).all():
        raise ValueError("weights must be finite and at least 0. Received: a weight that is not")
    has_weight_N = weights_N > 0
    if not has_weight_N.any():
        raise MetricError("no row has a known label")
    if not has_weight_N.all():
        truths_N, predictions_N, weights_N = truths_N[has_weight_N], predictions_N[has_weight_N], weights_N[has_weight_N]
        keys_N = None if keys_N is None else keys_N[has_weight_N]
    if not (np.isfinite(truths_N).all() and np.isfinite(predictions_N).all()):
        raise ValueError("labels and predictions must be finite. Received: a value that is not")
    return Rows(truths_N, predictions_N, weights_N, None if keys_N is None else np.unique(keys_N, return_inverse=True)[1])
