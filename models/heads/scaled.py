"""What heads share whose output is relative to the mean watch time of the training rows."""

import numpy as np
import tensorflow as tf

from models.errors import HeadError
from models.heads.head import Head


class ScaledHead(Head):
    """Measures seconds in units of the training rows' mean, so that an output of 0 is that mean, however long items are.

    Args:
        label: column of the labels.
        config: the head's configuration, of `models.heads.config`.

    Attributes:
        mean_seconds: scalar variable; 1 before `adapt`.
    """

    needs_adapting = True

    def __init__(self, label, config):
        super().__init__(label, config)
        self.mean_seconds = tf.Variable(1.0, trainable=False, name="mean_seconds")

    def adapt(self, columns):
        """Sets the mean.

        Args:
            columns: NumPy arrays (rows,) by name: the label and its mask or weight.

        Raises:
            HeadError: If no row is known, or none was watched.
        """
        seconds_N, weights_N, _ = self.known_rows(columns)
        mean_seconds = np.average(seconds_N, weights=weights_N)
        if not mean_seconds > 0:
            raise HeadError(f"tasks.{self.label}.head needs training rows with seconds above 0. Received: none")
        self.mean_seconds.assign(mean_seconds)
