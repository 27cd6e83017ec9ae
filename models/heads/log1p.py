"""Seconds by regression of their logarithm."""

import tensorflow as tf

from models.heads.head import Head
from models.losses import log1p_error

# Keeps exp finite in float32; 1e13 seconds.
_LARGEST_OUTPUT = 30.0


class Log1pHead(Head):
    """The tower's output is log(1 + seconds), by squared or Huber error; served are the seconds behind it.

    Seconds behind a mean of logarithms lie near the median, below the mean of a long-tailed watch time. Isotonic calibration
    turns them into a mean.
    """

    serves_mean = False

    def row_losses(self, outputs, labels, inputs):
        """Error of every row.

        Args:
            outputs: (batch,) float32, log(1 + seconds).
            labels: (batch,) float32, seconds.
            inputs: not read.

        Returns:
            (batch,) float32.
        """
        return log1p_error(labels, outputs, self.config.huber_delta)

    def served_values(self, outputs, inputs):
        """Seconds.

        Args:
            outputs: (batch,) float32, log(1 + seconds).
            inputs: not read.

        Returns:
            (batch,) float32 of at least 0.
        """
        return tf.math.expm1(tf.clip_by_value(outputs, 0.0, _LARGEST_OUTPUT))
