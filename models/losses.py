"""Losses whose mean runs over the rows with a known label.

Both have the signature that `tfrs.tasks.Ranking` calls its loss with. A Keras loss would not do: its reductions divide
by the batch, known or not, and its `sample_weight` is a weight, not a mask.

Shapes: B batch.
"""

import tensorflow as tf


def masked_binary_cross_entropy(y_true, y_pred, sample_weight):
    """Mean binary cross entropy over the rows whose mask is 1.

    Args:
        y_true: (batch,) float in {0, 1}.
        y_pred: (batch,) float, logits.
        sample_weight: (batch,) float in {0, 1}, 1 where the label is known.

    Returns:
        Scalar float32; 0 if no label is known.
    """
    losses_B = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32))
    return _masked_mean(losses_B, sample_weight)


def masked_log1p_squared_error(y_true, y_pred, sample_weight):
    """Mean squared error of log(1 + seconds) over the rows whose mask is 1.

    Args:
        y_true: (batch,) float, seconds of at least 0.
        y_pred: (batch,) float, predicted log(1 + seconds).
        sample_weight: (batch,) float in {0, 1}, 1 where the label is known.

    Returns:
        Scalar float32; 0 if no label is known.
    """
    losses_B = tf.square(tf.math.log1p(tf.cast(y_true, tf.float32)) - tf.cast(y_pred, tf.float32))
    return _masked_mean(losses_B, sample_weight)


def _masked_mean(losses_B, masks):
    is_known_B = tf.cast(masks, tf.float32) > 0
    # tf.where, not a product: an unknown label may be NaN, and NaN times 0 is NaN.
    losses_B = tf.where(is_known_B, losses_B, 0.0)
    return tf.math.divide_no_nan(tf.reduce_sum(losses_B), tf.reduce_sum(tf.cast(is_known_B, tf.float32)))
