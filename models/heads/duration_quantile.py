"""Seconds by their rank among items of like duration.

Shapes: B batch, N rows, G groups of like duration, Q quantiles.
"""

import numpy as np
import tensorflow as tf

from models.heads.head import Head
from models.heads.quantiles import mid_quantiles, weighted_quantiles
from models.losses import cross_entropy


class DurationQuantileHead(Head):
    """The tower's output is the logit of the watch time's rank within its group of durations; served is the quantile there.

    A rank is that among the training rows' watch times in the group, 0 for the least and 1 for the largest; equal ones, such as
    the many of 0 seconds, share the middle of theirs. Long items win nothing by being long. As ranks are averaged, not seconds,
    the served value lies near the median; isotonic calibration turns it into a mean.

    Args:
        label: column of the labels.
        config: `DurationQuantileHeadConfig`.

    Reference:
        Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation", KDD 2022: groups of equal
        mass in duration d, target F_d(w), served F_d^-1(prediction). The loss there is the squared error of the rank; here it
        is the cross entropy, which has its minimum at the same mean rank and does not fade where the sigmoid is flat.
    """

    needs_adapting = True
    serves_mean = False

    def __init__(self, label, config):
        super().__init__(label, config)
        self.columns = (config.duration,)
        self._borders = tf.Variable(tf.zeros([config.num_groups - 1]), trainable=False, name="borders")
        table_GQ = tf.zeros([config.num_groups, config.num_quantiles])
        self._seconds = tf.Variable(table_GQ, trainable=False, name="seconds")

    def adapt(self, columns):
        """Sets the borders of the groups, of equal mass as far as durations do not repeat, and the quantiles of each.

        Args:
            columns: NumPy arrays (rows,) by name: the label, its mask or weight, and the duration as transformed.

        Raises:
            HeadError: If no row is known, or the duration is no single number.
        """
        seconds_N, weights_N, features = self.known_rows(columns)
        duration_N = features[self.config.duration]
        borders = self._group_borders(duration_N, weights_N)
        group_N = np.searchsorted(borders, duration_N)
        levels_Q = np.linspace(0, 1, self.config.num_quantiles)
        table_GQ = np.zeros(self._seconds.shape)
        for group in range(len(borders) + 1):
            is_mine_N = group_N == group
            table_GQ[group] = mid_quantiles(seconds_N[is_mine_N], weights_N[is_mine_N], levels_Q)
        self._borders.assign(np.pad(borders, (0, self.config.num_groups - 1 - len(borders)), constant_values=np.inf))
        self._seconds.assign(table_GQ)

    def _group_borders(self, duration_N, weights_N):
        """Longest durations of the groups but the last, in order: every group holds rows, few durations a group each."""
        distinct, groups = np.unique(duration_N), self.config.num_groups
        if len(distinct) <= groups:
            return distinct[:-1]
        borders = np.unique(weighted_quantiles(duration_N, weights_N, np.arange(1, groups) / groups))
        return borders[borders < distinct[-1]]

    def row_losses(self, outputs, labels, inputs):
        """Cross entropy of every row's rank.

        Args:
            outputs: (batch,) float32, logits of ranks.
            labels: (batch,) float32, seconds.
            inputs: dict of transformed columns with the duration, (batch,).

        Returns:
            (batch,) float32.
        """
        return cross_entropy(self.ranks(labels, inputs), outputs)

    def served_values(self, outputs, inputs):
        """Seconds at the predicted rank, between the quantiles beside it in proportion.

        Args:
            outputs: (batch,) float32, logits of ranks.
            inputs: dict of transformed columns with the duration, (batch,) or (1,).

        Returns:
            (batch,) float32 of at least 0.
        """
        table_BQ = self._quantiles(inputs, tf.shape(outputs))
        last = self.config.num_quantiles - 1
        position_B = tf.sigmoid(outputs) * last
        below_B = tf.minimum(tf.cast(position_B, tf.int32), last - 1)
        lower_B, upper_B = (tf.gather(table_BQ, index_B, batch_dims=1) for index_B in (below_B, below_B + 1))
        share_B = position_B - tf.cast(below_B, tf.float32)
        return lower_B + share_B * (upper_B - lower_B)

    def ranks(self, seconds, inputs):
        """Rank of watch times within their groups, the middle one of equal ones.

        Args:
            seconds: (batch,) float32.
            inputs: dict of transformed columns with the duration, (batch,).

        Returns:
            (batch,) float32 in [0, 1].
        """
        table_BQ = self._quantiles(inputs, tf.shape(seconds))
        last = self.config.num_quantiles - 1
        least_B, most_B = table_BQ[:, 0], table_BQ[:, -1]
        inside_B = tf.clip_by_value(seconds, least_B, most_B)
        below_B = tf.reduce_sum(tf.cast(table_BQ < inside_B[:, tf.newaxis], tf.int32), axis=1)
        after_B = tf.maximum(below_B, 1)
        lower_B, upper_B = (tf.gather(table_BQ, index_B, batch_dims=1) for index_B in (after_B - 1, after_B))
        between_B = tf.cast(after_B - 1, tf.float32) + tf.math.divide_no_nan(inside_B - lower_B, upper_B - lower_B)
        # The table is level up to the middle rank of the least watch time; where all are equal, theirs is 1/2.
        level_B = tf.reduce_sum(tf.cast(table_BQ <= least_B[:, tf.newaxis], tf.float32), axis=1) - 1
        level_B = tf.where(least_B == most_B, last / 2, level_B)
        return tf.where(inside_B > least_B, between_B, level_B) / last

    def _quantiles(self, inputs, shape):
        """(batch, quantiles) table rows, of a duration that may be one for all rows."""
        duration_B = tf.cast(tf.broadcast_to(inputs[self.config.duration], shape), tf.float32)
        return tf.gather(self._seconds, tf.searchsorted(self._borders, duration_B))
