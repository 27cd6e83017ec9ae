"""Losses whose weighted mean runs over the rows with a known label.

Both have the signature that `tfrs.tasks.Ranking` calls its loss with. A Keras loss would not do: its reductions divide
by the batch, known or not.

Shapes: B batch.
"""

import tensorflow as tf


def masked_binary_cross_entropy(y_true, y_pred, sample_weight):
    """Weighted mean of the binary cross entropy.

    Args:
        y_true: (batch,) float in {0, 1}.
        y_pred: (batch,) float, logits.
        sample_weight: (batch,) float of at least 0; 0 where the label is unknown, 1 where it counts in full.

    Returns:
        Scalar float32; 0 if no label is known.
    """
    weights_B, labels_B = _known(y_true, sample_weight)
    losses_B = tf.nn.sigmoid_cross_entropy_with_logits(labels_B, tf.cast(y_pred, tf.float32))
    return _mean(losses_B, weights_B)


def masked_log1p_squared_error(y_true, y_pred, sample_weight):
    """Weighted mean of the squared error of log(1 + seconds).

    Args:
        y_true: (batch,) float, seconds of at least 0.
        y_pred: (batch,) float, predicted log(1 + seconds).
        sample_weight: (batch,) float of at least 0; 0 where the label is unknown, 1 where it counts in full.

    Returns:
        Scalar float32; 0 if no label is known.
    """
    weights_B, labels_B = _known(y_true, sample_weight)
    losses_B = tf.square(tf.math.log1p(labels_B) - tf.cast(y_pred, tf.float32))
    return _mean(losses_B, weights_B)


def _known(labels, weights):
    """Weights, and the labels with 0 for those without weight: NaN times 0 is NaN, in gradients too."""
    weights_B = tf.cast(weights, tf.float32)
    return weights_B, tf.where(weights_B > 0, tf.cast(labels, tf.float32), 0.0)


def _mean(losses_B, weights_B):
    return tf.math.divide_no_nan(tf.reduce_sum(losses_B * weights_B), tf.reduce_sum(weights_B))
