"""Seconds by weighted logistic regression."""

import tensorflow as tf

from models.heads.scaled import ScaledHead
from models.losses import weighted_logistic_loss

# Keeps exp finite in float32.
_LARGEST_OUTPUT = 30.0


class WeightedLogisticHead(ScaledHead):
    """The tower's output is a logit whose odds are the expected seconds, in units of the training rows' mean."""

    def row_losses(self, outputs, labels, inputs):
        """Weighted cross entropy of every row.

        Args:
            outputs: (batch,) float32, logits.
            labels: (batch,) float32, seconds.
            inputs: not read.

        Returns:
            (batch,) float32.
        """
        return weighted_logistic_loss(labels / self.mean_seconds, outputs)

    def served_values(self, outputs, inputs):
        """Expected seconds: the odds, times the mean.

        Args:
            outputs: (batch,) float32, logits.
            inputs: not read.

        Returns:
            (batch,) float32 of at least 0.
        """
        return self.mean_seconds * tf.exp(tf.minimum(outputs, _LARGEST_OUTPUT))
