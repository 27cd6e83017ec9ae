"""Gradient surgery: projecting conflicting gradients.

Shapes: T tasks.
"""

import tensorflow as tf

from models.balancing.method import BalancingMethod


class PCGrad(BalancingMethod):
    """Takes from every task's gradient its part against each conflicting other, and sums what is left.

    Every projected gradient is a combination of the tasks' gradients; the projections run on its coefficients, and all
    tasks are projected at once. Weights are at least 1.

    Args:
        num_tasks: at least 1.
        seed: of the order in which a task meets the others, drawn anew for every task and step.

    Reference:
        Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, algorithm 1: for every task i, from g = g_i
        and over the others j in random order, g <- g - (g . g_j / |g_j|^2) g_j where g . g_j < 0; the update is their sum.
    """

    needs_gram = True

    def __init__(self, num_tasks, seed=0):
        super().__init__(num_tasks, seed)
        self._num_steps = self._state(tf.zeros([], tf.int64), "num_steps")

    def _weights(self, losses_T, gram_TT):
        # Row i: coefficients of the projected gradient of task i.
        coefficients_TT = tf.eye(self.num_tasks)
        norms_T = tf.linalg.diag_part(gram_TT)
        for others_T in tf.unstack(self._orders(), axis=1):
            chosen_TT = tf.one_hot(others_T, self.num_tasks)
            products_T = tf.reduce_sum(coefficients_TT * tf.gather(gram_TT, others_T), axis=1)
            steps_T = tf.math.divide_no_nan(tf.minimum(products_T, 0.0), tf.gather(norms_T, others_T))
            coefficients_TT -= steps_T[:, None] * (chosen_TT * (1.0 - tf.eye(self.num_tasks)))
        return tf.reduce_sum(coefficients_TT, axis=0)

    def _orders(self):
        """(T, T) integers: in row i the order in which task i meets the tasks, itself included, which changes nothing."""
        step = tf.identity(self._num_steps)
        self._num_steps.assign_add(1)
        seed = tf.stack([tf.cast(self.seed, tf.int64), step])
        # One algorithm by name: left to choose, CPU and GPU take different ones. XLA has its own reading of it all the same.
        draws_TT = tf.random.stateless_uniform([self.num_tasks] * 2, seed, alg="philox")
        return tf.argsort(draws_TT, axis=1)
