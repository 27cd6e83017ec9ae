"""Probability of a label in {0, 1}."""

import tensorflow as tf

from models.heads.head import Head
from models.losses import cross_entropy


class BinaryHead(Head):
    """The tower's output is a logit, trained by cross entropy and served as its probability."""

    def row_losses(self, outputs, labels, inputs):
        """Cross entropy of every row.

        Args:
            outputs: (batch,) float32, logits.
            labels: (batch,) float32 in {0, 1}.
            inputs: not read.

        Returns:
            (batch,) float32.
        """
        return cross_entropy(labels, outputs)

    def served_values(self, outputs, inputs):
        """Probabilities.

        Args:
            outputs: (batch,) float32, logits.
            inputs: not read.

        Returns:
            (batch,) float32 in [0, 1].
        """
        return tf.sigmoid(outputs)
