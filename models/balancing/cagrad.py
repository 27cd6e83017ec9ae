"""Conflict-averse gradient descent.

Shapes: T tasks.
"""

import tensorflow as tf

from models.balancing.method import BalancingMethod, mean_over
from models.balancing.simplex import require_few_tasks, worst_case_multipliers


class CAGrad(BalancingMethod):
    """Descends, within a ball around the mean gradient, along which the task that gains least gains most.

    Args:
        num_tasks: at least 1, at most 10.
        seed: without effect.
        c: radius of the ball over the norm of the mean gradient, in [0, 1).

    Reference:
        Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, algorithm 1: with the mean g_0
        and phi = c^2 |g_0|^2, w minimises g_w . g_0 + sqrt(phi) |g_w| over the simplex, and the update is
        d = g_0 + sqrt(phi) / |g_w| g_w. Ours is T d / (1 + c): tasks that are alike weigh 1 each.
    """

    needs_gram = True

    def __init__(self, num_tasks, seed=0, c=0.4):
        super().__init__(num_tasks, seed)
        require_few_tasks(num_tasks)
        self._c = c

    def _weights(self, losses_T, gram_TT):
        gram_TT = tf.cast(gram_TT, tf.float64)
        present_T = tf.linalg.diag_part(gram_TT) > 0
        num_present = tf.maximum(tf.reduce_sum(tf.cast(present_T, tf.float64)), 1.0)
        # Inner products of the mean gradient with every gradient, and with itself.
        slopes_T = tf.reduce_sum(gram_TT, axis=1) / num_present
        # Gradients that cancel may leave a rounding error below 0.
        radius = self._c * tf.sqrt(tf.maximum(mean_over(slopes_T, present_T), 0.0))
        multipliers_T = worst_case_multipliers(gram_TT, slopes_T, radius)
        weights_T = (1.0 + num_present * multipliers_T) / (1.0 + self._c)
        return tf.cast(weights_T, tf.float32)
