"""Moving averages of weights, which are evaluated and served in the place of the weights that training moves."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


class AveragedWeights(tf.Module):
    """Exponential moving averages of variables.

    After n updates an average moves by 1 - min(decay, (1 + n) / (10 + n)) of its way to the variable, so that initial values
    are soon forgotten.

    Args:
        variables: to average; the averages begin at their values.
        decay: within 0 and 1.

    Reference:
        Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal on Control and Optimization
        1992; exponential, with the rising decay of `tf.train.ExponentialMovingAverage`.
    """

    def __init__(self, variables, decay):
        super().__init__()
        self.decay = decay
        self.averages = [tf.Variable(variable.read_value(), trainable=False) for variable in variables]
        self._num_updates = tf.Variable(0, trainable=False, dtype=tf.int64)
        # Hidden from checkpoints, where the variables have their own place.
        self._variables = lambda: variables

    def update(self):
        """Moves the averages towards the variables, once a step."""
        count = tf.cast(self._num_updates.assign_add(1), tf.float32)
        step = 1 - tf.minimum(self.decay, (1 + count) / (10 + count))
        for average, variable in zip(self.averages, self._variables(), strict=True):
            average.assign_sub(step * (average - variable))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Lends the averages to the variables.

        Yields:
            None: within, the variables hold their averages; after it, their own values again.
        """
        kept = [tf.identity(variable.read_value()) for variable in self._variables()]
        self._assign(self.averages)
        try:
            yield
        finally:
            self._assign(kept)

    def _assign(self, values):
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
