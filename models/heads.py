"""Heads: what a tower's output means, how it is trained and what is served for it."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from models.losses import masked_binary_cross_entropy, masked_log1p_squared_error


@dataclasses.dataclass(frozen=True)
class Head:
    """Loss and served value of one kind of task.

    Attributes:
        loss_fn: of (`y_true`, `y_pred`, `sample_weight`), scalar.
        served_fn: (batch,) tower output to (batch,) served value.
    """

    loss_fn: Callable
    served_fn: Callable


def seconds_from_log1p(outputs):
    """Seconds behind predicted values of log(1 + seconds).

    Args:
        outputs: (batch,) float.

    Returns:
        (batch,) float of at least 0.
    """
    return tf.maximum(tf.math.expm1(outputs), 0.0)


HEADS = {
    "binary": Head(masked_binary_cross_entropy, tf.sigmoid),
    "log1p": Head(masked_log1p_squared_error, seconds_from_log1p),
}
