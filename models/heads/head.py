"""What every head is: the loss of a tower's output, and the value that is served for it.

Shapes: B batch, K outputs of a row.
"""

from abc import ABC, abstractmethod

import numpy as np
import tensorflow as tf

from data.schema import mask_name
from models.errors import HeadError
from models.losses import known_labels, weighted_mean


class Head(tf.Module, ABC):
    """Meaning of a tower's output. A kind defines `row_losses` and `served_values`, and what it learns from all rows at once.

    Args:
        label: column of the labels.
        config: the head's configuration, of `models.heads.config`.

    Attributes:
        label: column of the labels.
        config: the head's configuration.
        width: units of the tower's output; outputs are (batch,) where it is 1, else (batch, width). Of several the first must
            raise or lower the served value by itself: the bias tower is added to it.
        columns: names of transformed feature columns, one number a row, that loss and served value read.
        needs_adapting: whether `adapt` must be called before training.
        serves_mean: whether the least loss over many rows with equal features is where the served value is the mean of their
            labels; otherwise it lies near their median.
    """

    width = 1
    columns = ()
    needs_adapting = False
    serves_mean = True

    def __init__(self, label, config):
        super().__init__(name=f"head_{label}")
        self.label = label
        self.config = config

    @property
    def state(self):
        """Non-trainable variables that `adapt` sets, kept with the model."""
        return list(self.variables)

    def adapt(self, columns):
        """Sets what the head must know of all training rows; nothing for most kinds.

        Args:
            columns: NumPy arrays (rows,) by name: the label, its mask or weight, and `self.columns`, as transformed.

        Raises:
            HeadError: If the rows do not define what the head needs.
        """

    def loss(self, outputs, labels, weights, inputs):
        """Weighted mean loss over the rows with weight.

        Args:
            outputs: (batch,) float, or (batch, width) where the width is not 1.
            labels: (batch,) float; anything where the weight is 0.
            weights: (batch,) float of at least 0; 0 where the label is unknown.
            inputs: dict of transformed columns that holds `self.columns`.

        Returns:
            Scalar float32; 0 if no row has weight.
        """
        labels_B, weights_B = known_labels(labels, weights)
        return weighted_mean(self.row_losses(tf.cast(outputs, tf.float32), labels_B, inputs), weights_B)

    def served(self, outputs, inputs):
        """Values that are served, before calibration.

        Args:
            outputs: (batch,) float, or (batch, width) where the width is not 1.
            inputs: dict of transformed columns that holds `self.columns`, (batch,) or (1,).

        Returns:
            (batch,) float32: probabilities, grades or seconds, as `config.serves` says.
        """
        return self.served_values(tf.cast(outputs, tf.float32), inputs)

    @abstractmethod
    def row_losses(self, outputs, labels, inputs):
        """Losses of single rows.

        Args:
            outputs: (batch,) float32, or (batch, width) where the width is not 1.
            labels: (batch,) float32; 0 where it is unknown.
            inputs: dict of transformed columns that holds `self.columns`.

        Returns:
            (batch,) float32.
        """

    @abstractmethod
    def served_values(self, outputs, inputs):
        """As `served`, of float32 outputs.

        Args:
            outputs: (batch,) float32, or (batch, width) where the width is not 1.
            inputs: dict of transformed columns that holds `self.columns`, (batch,) or (1,).

        Returns:
            (batch,) float32.
        """

    def known_rows(self, columns):
        """Labels and weights of the rows with weight, and `self.columns` of the same rows.

        Args:
            columns: as of `adapt`.

        Returns:
            Seconds (rows,), weights (rows,), and a dict of (rows,), all float64.

        Raises:
            HeadError: If there is no such row, or a label is negative or not finite.
        """
        weights_N = np.asarray(columns[mask_name(self.label)], np.float64)
        is_known_N = weights_N > 0
        seconds_N = np.asarray(columns[self.label], np.float64)[is_known_N]
        if not len(seconds_N):
            raise HeadError(f"tasks.{self.label}.head needs training rows with a known label. Received: none")
        is_wrong_N = ~(np.isfinite(seconds_N) & (seconds_N >= 0))
        if is_wrong_N.any():
            raise HeadError(
                f"tasks.{self.label}.head needs labels that are finite and not negative. Received: {seconds_N[is_wrong_N][0]}"
            )
        return seconds_N, weights_N[is_known_N], {name: self._column(columns, name)[is_known_N] for name in self.columns}

    def _column(self, columns, name):
        column_N = np.asarray(columns[name], np.float64)
        if column_N.ndim != 1:
            raise HeadError(
                f"tasks.{self.label}.head must read features of one number a row. Received: {name}, {column_N.shape[1:]} a row"
            )
        return column_N
