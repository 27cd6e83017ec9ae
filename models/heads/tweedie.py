"""Seconds by the Tweedie distribution."""

import tensorflow as tf

from models.heads.scaled import ScaledHead
from models.losses import tweedie_deviance

# The mean lies within exp(-15) and exp(15) of the training rows' mean: a millionth of a second, or a year.
_OUTPUT_BOUND = 15.0


class TweedieHead(ScaledHead):
    """The tower's output is the logarithm of the expected seconds, in units of the training rows' mean."""

    def row_losses(self, outputs, labels, inputs):
        """Deviance of every row.

        Args:
            outputs: (batch,) float32, logarithms of means.
            labels: (batch,) float32, seconds.
            inputs: not read.

        Returns:
            (batch,) float32.
        """
        return tweedie_deviance(labels / self.mean_seconds, outputs, self.config.power, _OUTPUT_BOUND)

    def served_values(self, outputs, inputs):
        """Expected seconds.

        Args:
            outputs: (batch,) float32, logarithms of means.
            inputs: not read.

        Returns:
            (batch,) float32 of at least 0.
        """
        return self.mean_seconds * tf.exp(tf.clip_by_value(outputs, -_OUTPUT_BOUND, _OUTPUT_BOUND))
