"""Weighting by homoscedastic uncertainty.

Shapes: T tasks.
"""

import tensorflow as tf

from models.balancing.method import BalancingMethod


class Uncertainty(BalancingMethod):
    """Divides every loss by a learned noise variance, which is as large as the loss where it has settled.

    The variances start at 1, and so do the weights. Nothing bounds them: a task with a small loss is weighted up.

    Args:
        num_tasks: at least 1.
        seed: without effect.

    Reference:
        Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics",
        CVPR 2018, eq. 7: sum_t L_t / (2 sigma_t^2) + log sigma_t. Ours is twice that, with s_t = log sigma_t^2 as the
        variable, as they advise: sum_t exp(-s_t) L_t + s_t, least at exp(s_t) = L_t.
    """

    def __init__(self, num_tasks, seed=0):
        super().__init__(num_tasks, seed)
        self.log_variances_T = tf.Variable(tf.zeros([num_tasks]), name="log_variances")

    def regularizer(self, losses):
        """Sum of the log variances, with the gradient of the whole objective with respect to them.

        Args:
            losses: (T,) float of at least 0, of this batch; no gradient flows back to them.

        Returns:
            Scalar float32: added to the weighted losses it makes the paper's objective, twice over.
        """
        losses_T = self._constant("losses", losses, [self.num_tasks])
        weighted_T = tf.exp(-self.log_variances_T) * losses_T
        # The weighted losses enter with their gradient only; their value is in the total loss already.
        terms_T = self.log_variances_T + weighted_T - tf.stop_gradient(weighted_T)
        return tf.reduce_sum(tf.where(losses_T > 0, terms_T, 0.0))

    def _weights(self, losses_T, gram_TT):
        return tf.exp(-self.log_variances_T)
