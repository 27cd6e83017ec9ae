"""Mean losses of all tasks since the last reset.

Shapes: T tasks.
"""

import tensorflow as tf

from models.keras import keras


class MeanLosses(keras.metrics.Metric):
    """Means of the tasks' losses, each batch weighed by the task's known rows; two variables for all tasks.

    Args:
        num_tasks: at least 1.
        **kwargs: of `keras.metrics.Metric`.
    """

    def __init__(self, num_tasks, **kwargs):
        super().__init__(**kwargs)
        self._totals_T = self.add_weight("totals", [num_tasks], initializer="zeros")
        self._known_T = self.add_weight("known", [num_tasks], initializer="zeros")

    def update_state(self, losses, known):
        """Counts a batch.

        Args:
            losses: (T,) float, means over the known rows.
            known: (T,) float, sums of the known rows' weights.
        """
        self._totals_T.assign_add(losses * known)
        self._known_T.assign_add(known)

    def result(self):
        """Mean losses.

        Returns:
            (T,) float32; 0 for a task without a known row.
        """
        return tf.math.divide_no_nan(self._totals_T, self._known_T)

    def reset_state(self):
        """Forgets all batches; Keras itself would assign a scalar 0."""
        for variable in (self._totals_T, self._known_T):
            variable.assign(tf.zeros_like(variable))
