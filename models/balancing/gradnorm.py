"""Gradient normalization.

Shapes: T tasks.
"""

import tensorflow as tf

from models.balancing.method import BalancingMethod, mean_over


class GradNorm(BalancingMethod):
    """Steers the norms of the weighted gradients to one size, larger for tasks whose loss has fallen less.

    The step on the weights is taken on their logarithms and in units of the mean norm: weights stay positive, and neither
    the losses' scale nor a weight far from its goal makes a step too large.

    Args:
        num_tasks: at least 1.
        seed: without effect.
        alpha: exponent of the relative inverse training rate, at least 0.
        learning_rate: of the step on the logarithms, positive.

    Reference:
        Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks", ICML 2018,
        eq. 2: with G_t = |w_t g_t|, their mean G and r_t = (L_t / L_t(0)) / mean_i (L_i / L_i(0)), a gradient step on
        sum_t |G_t - G r_t^alpha| in w with G r_t^alpha held constant, then w scaled to the sum T.
    """

    needs_gram = True

    def __init__(self, num_tasks, seed=0, alpha=1.5, learning_rate=0.025):
        super().__init__(num_tasks, seed)
        self._alpha = alpha
        self._learning_rate = learning_rate
        self._log_weights_T = self._state(tf.zeros([num_tasks]), "log_weights")
        self._first_losses_T = self._state(tf.zeros([num_tasks]), "first_losses")

    def _weights(self, losses_T, gram_TT):
        # This step takes the weights as they are; their own step shows in the next.
        log_weights_T = tf.identity(self._log_weights_T)
        weights_T = tf.exp(log_weights_T)
        gradient_T = self._gradient(weights_T * tf.sqrt(tf.linalg.diag_part(gram_TT)), losses_T)
        stepped_T = log_weights_T - self._learning_rate * gradient_T
        self._log_weights_T.assign(tf.nn.log_softmax(stepped_T) + tf.math.log(float(self.num_tasks)))
        return weights_T

    def _gradient(self, norms_T, losses_T):
        """Derivative of the paper's sum with respect to the log weights, over the mean norm."""
        present_T = (norms_T > 0) & (losses_T > 0)
        # Counted from the first batch that has a label of the task, which need not be the first of all.
        seen_T = tf.identity(self._first_losses_T)
        first_losses_T = tf.where(seen_T > 0, seen_T, losses_T)
        self._first_losses_T.assign(first_losses_T)
        left_T = tf.math.divide_no_nan(losses_T, first_losses_T)
        rates_T = tf.math.divide_no_nan(left_T, mean_over(left_T, present_T))
        mean_norm = mean_over(norms_T, present_T)
        excess_T = norms_T - mean_norm * tf.pow(rates_T, self._alpha)
        return tf.where(present_T, tf.math.divide_no_nan(norms_T, mean_norm) * tf.sign(excess_T), 0.0)
