"""Losses of single rows, and their weighted mean over the rows with a known label.

A Keras loss would not do: its reductions divide by the batch, known or not.

Shapes: B batch, K outputs of a row.
"""

import tensorflow as tf


def known_labels(labels, weights):
    """Labels with 0 for those without weight, so that an unknown label may be NaN: NaN times 0 is NaN, in gradients too.

    Args:
        labels: (batch,) float; anything where the weight is 0.
        weights: (batch,) float of at least 0; 0 where the label is unknown.

    Returns:
        Labels and weights, both (batch,) float32.
    """
    weights_B = tf.cast(weights, tf.float32)
    return tf.where(weights_B > 0, tf.cast(labels, tf.float32), 0.0), weights_B


def weighted_mean(losses, weights):
    """Weighted mean over the rows with weight.

    Args:
        losses: (batch,) float; anything where the weight is 0.
        weights: (batch,) float of at least 0.

    Returns:
        Scalar float32; 0 if no row has weight.
    """
    losses_B = tf.where(weights > 0, losses, 0.0)
    return tf.math.divide_no_nan(tf.reduce_sum(losses_B * weights), tf.reduce_sum(weights))


def cross_entropy(labels, logits):
    """Cross entropy of a probability given as its logit, smallest where the probability equals the label.

    Args:
        labels: (batch,) float in [0, 1].
        logits: (batch,) float.

    Returns:
        (batch,) float of at least 0: -y log p - (1 - y) log(1 - p) with p = sigmoid(z).
    """
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)


def log1p_error(seconds, outputs, huber_delta=None):
    """Squared error of log(1 + seconds), or linear beyond a distance.

    Args:
        seconds: (batch,) float of at least 0.
        outputs: (batch,) float, predicted log(1 + seconds).
        huber_delta: distance beyond which the error grows linearly; None for the squared error throughout.

    Returns:
        (batch,) float of at least 0: e^2 up to delta, beyond it 2 delta |e| - delta^2.

    Reference:
        Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 1964, section 3; here doubled,
        to equal the squared error near 0.
    """
    error_B = tf.math.log1p(seconds) - outputs
    if huber_delta is None:
        return tf.square(error_B)
    distance_B = tf.abs(error_B)
    return tf.where(distance_B <= huber_delta, tf.square(error_B), huber_delta * (2 * distance_B - huber_delta))


def weighted_logistic_loss(amounts, logits):
    """Cross entropy in which a row counts once as a negative and `amounts` times as a positive.

    Args:
        amounts: (batch,) float of at least 0.
        logits: (batch,) float.

    Returns:
        (batch,) float of at least 0: y log(1 + exp(-z)) + log(1 + exp(z)), smallest in the mean where exp(z) is the mean of y.

    Reference:
        Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, section 4.2. There a watched row is a
        positive only, so that the odds are sum(y) / (N - k) with k watched rows of N; here they are sum(y) / N.
    """
    return amounts * tf.math.softplus(-logits) + tf.math.softplus(logits)


def tweedie_deviance(amounts, log_means, power, log_mean_bound):
    """Deviance of the Tweedie distribution, as a function of the logarithm of its mean.

    Args:
        amounts: (batch,) float of at least 0.
        log_means: (batch,) float.
        power: of the variance in the mean, within 1 and 2 (both exclusive).
        log_mean_bound: size of `log_means` beyond which the deviance goes on linearly, with its slope there: exponentials of
            exponentials overflow.

    Returns:
        (batch,) float of at least 0: 2 (y^(2-p) / ((1-p)(2-p)) - y m^(1-p) / (1-p) + m^(2-p) / (2-p)).

    Reference:
        Jorgensen, "Exponential Dispersion Models", Journal of the Royal Statistical Society B 49, 1987, section 4.
    """
    inside_B = tf.stop_gradient(tf.clip_by_value(log_means, -log_mean_bound, log_mean_bound))
    below_B, above_B = amounts * tf.exp((1 - power) * inside_B), tf.exp((2 - power) * inside_B)
    constant_B = tf.pow(amounts, 2 - power) / ((1 - power) * (2 - power))
    at_inside_B = 2 * (constant_B - below_B / (1 - power) + above_B / (2 - power))
    slope_B = 2 * (above_B - below_B)
    return at_inside_B + slope_B * (log_means - inside_B)
