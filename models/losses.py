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
    is_known_B, labels_B = _known(y_true, sample_weight)
    losses_B = tf.nn.sigmoid_cross_entropy_with_logits(labels_B, tf.cast(y_pred, tf.float32))
    return _mean(losses_B, is_known_B)


def masked_log1p_squared_error(y_true, y_pred, sample_weight):
    """Mean squared error of log(1 + seconds) over the rows whose mask is 1.

    Args:
        y_true: (batch,) float, seconds of at least 0.
        y_pred: (batch,) float, predicted log(1 + seconds).
        sample_weight: (batch,) float in {0, 1}, 1 where the label is known.

    Returns:
        Scalar float32; 0 if no label is known.
    """
    is_known_B, labels_B = _known(y_true, sample_weight)
    losses_B = tf.square(tf.math.log1p(labels_B) - tf.cast(y_pred, tf.float32))
    return _mean(losses_B, is_known_B)


def _known(labels, masks):
    """Which labels are known, and the labels with 0 for the others: NaN times 0 is NaN, in gradients too."""
    is_known_B = tf.cast(masks, tf.float32) > 0
    return is_known_B, tf.where(is_known_B, tf.cast(labels, tf.float32), 0.0)


def _mean(losses_B, is_known_B):
    known_B = tf.cast(is_known_B, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(losses_B * known_B), tf.reduce_sum(known_B))
