"""Seconds by the probabilities of watching beyond thresholds.

Shapes: B batch, N rows, K thresholds.
"""

import numpy as np
import tensorflow as tf

from models.errors import HeadError
from models.heads.head import Head
from models.heads.quantiles import mid_quantiles, weighted_quantiles
from models.losses import cross_entropy

# Points of the table from ranks to seconds.
_NUM_RANKS = 201


class OrdinalHead(Head):
    """The tower's outputs are steps between the logits of P(watched beyond threshold), which fall from one to the next.

    Outputs of 0 are the training rows' own probabilities. A threshold stands at the least watch time of training, the others at
    quantiles of those above it, each value once: where watch times repeat there are fewer thresholds than configured.

    Args:
        label: column of the labels.
        config: `OrdinalHeadConfig`.

    Reference:
        Sun et al., "CREAD: A Classification-Restoration Framework with Error Adaptive Discretization for Watch Time Prediction
        in Video Recommender Systems", AAAI 2024: E[w] = sum_k P(w > t_k) (t_k+1 - t_k). Here an interval's width is the mean
        E[min(w, t_k+1) - t_k | w > t_k] of the training rows, which makes the sum exact for them, the open last one included.
    """

    needs_adapting = True

    def __init__(self, label, config):
        super().__init__(label, config)
        self.width = config.num_thresholds
        self._thresholds = self._variable("thresholds")
        self._interval_seconds = self._variable("interval_seconds")
        self._first_logit = tf.Variable(0.0, trainable=False, name="first_logit")
        self._steps = self._variable("steps")
        self._rank_steps = self._variable("rank_steps")
        self._first_rank = tf.Variable(0.0, trainable=False, name="first_rank")
        self._seconds_by_rank = tf.Variable(tf.zeros([_NUM_RANKS]), trainable=False, name="seconds_by_rank")

    @property
    def serves_mean(self):
        """Whether means are served, and not the seconds at the expected rank."""
        return self.config.serve == "mean"

    def _variable(self, name):
        return tf.Variable(tf.zeros([self.width]), trainable=False, name=name)

    def adapt(self, columns):
        """Sets thresholds, the mean seconds within each interval, and the logits of watching beyond the thresholds.

        Args:
            columns: NumPy arrays (rows,) by name: the label and its mask or weight.

        Raises:
            HeadError: If no row is known, or all watch times are equal.
        """
        seconds_N, weights_N, _ = self.known_rows(columns)
        thresholds = self._distinct_thresholds(seconds_N, weights_N)
        beyond = np.array([weights_N[seconds_N > threshold].sum() for threshold in thresholds])
        ends = np.r_[thresholds[1:], np.inf]
        within = [weights_N @ (np.clip(seconds_N, *interval) - interval[0]) for interval in zip(thresholds, ends, strict=True)]
        # Logits as differences of logarithms of masses, which exist as no threshold lies at or above the longest watch time.
        logits = np.log(beyond) - np.log(weights_N.sum() - beyond)
        padding = (0, self.width - len(thresholds))
        self._thresholds.assign(np.pad(thresholds, padding, constant_values=np.inf))
        self._interval_seconds.assign(np.pad(within / beyond, padding))
        self._first_logit.assign(logits[0])
        drops = -np.diff(logits)
        self._steps.assign(np.pad(np.r_[0.0, drops + np.log(-np.expm1(-drops))], padding))
        # An interval's rows share its middle rank; those at the least watch time are below all thresholds.
        at_or_below = np.r_[0.0, 1 - beyond / weights_N.sum(), 1.0]
        middles = (at_or_below[1:] + at_or_below[:-1]) / 2
        self._first_rank.assign(middles[0])
        self._rank_steps.assign(np.pad(np.diff(middles), padding))
        self._seconds_by_rank.assign(mid_quantiles(seconds_N, weights_N, np.linspace(0, 1, _NUM_RANKS)))

    def _distinct_thresholds(self, seconds_N, weights_N):
        """The least watch time, and quantiles of those above it below the longest."""
        is_above_N = seconds_N > seconds_N.min()
        if not is_above_N.any():
            raise HeadError(
                f"tasks.{self.label}.head needs training rows with different seconds. Received: {seconds_N[0]} only"
            )
        levels = np.arange(1, self.width) / self.width
        quantiles = np.unique(weighted_quantiles(seconds_N[is_above_N], weights_N[is_above_N], levels))
        return np.r_[seconds_N.min(), quantiles[quantiles < seconds_N.max()]]

    def row_losses(self, outputs, labels, inputs):
        """Cross entropy of every row, the mean over thresholds.

        Args:
            outputs: (batch, thresholds) float32.
            labels: (batch,) float32, seconds.
            inputs: not read.

        Returns:
            (batch,) float32.
        """
        is_beyond_BK = tf.cast(labels[:, tf.newaxis] > self._thresholds, tf.float32)
        is_used_K = tf.cast(tf.math.is_finite(self._thresholds), tf.float32)
        losses_BK = cross_entropy(is_beyond_BK, self._logits(outputs))
        return tf.reduce_sum(losses_BK * is_used_K, axis=1) / tf.reduce_sum(is_used_K)

    def served_values(self, outputs, inputs):
        """Expected seconds, the area under the probabilities above the least watch time; or the seconds at the expected rank.

        Args:
            outputs: (batch, thresholds) float32.
            inputs: not read.

        Returns:
            (batch,) float32 of at least 0.
        """
        probabilities_BK = tf.sigmoid(self._logits(outputs))
        if self.serves_mean:
            return self._thresholds[0] + tf.linalg.matvec(probabilities_BK, self._interval_seconds)
        place_B = (self._first_rank + tf.linalg.matvec(probabilities_BK, self._rank_steps)) * (_NUM_RANKS - 1)
        below_B = tf.clip_by_value(tf.cast(place_B, tf.int32), 0, _NUM_RANKS - 2)
        low_B, high_B = tf.gather(self._seconds_by_rank, below_B), tf.gather(self._seconds_by_rank, below_B + 1)
        return low_B + (place_B - tf.cast(below_B, tf.float32)) * (high_B - low_B)

    def _logits(self, outputs_BK):
        """Falling logits of watching beyond each threshold."""
        first_B1 = self._first_logit + outputs_BK[:, :1]
        drops_BK = tf.math.softplus(self._steps[1:] + outputs_BK[:, 1:])
        # Drops up to each threshold, none at the first: as a product several times as fast as a cumulative sum.
        return first_B1 - tf.matmul(drops_BK, np.triu(np.ones([self.width - 1, self.width], np.float32), 1))
