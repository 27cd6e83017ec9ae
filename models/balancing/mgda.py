"""Multiple-gradient descent.

Shapes: T tasks.
"""

import tensorflow as tf

from models.balancing.method import BalancingMethod, shared_out
from models.balancing.simplex import require_few_tasks, worst_case_multipliers


class MGDA(BalancingMethod):
    """Descends along the shortest convex combination of the gradients, along which no task's loss rises.

    Where that combination is zero, no task can gain without another's loss. A task absent from a batch takes no part,
    though its zero gradient would be the shortest combination of all.

    Args:
        num_tasks: at least 1, at most 10.
        seed: without effect.
        normalize: what every gradient is divided by before: "none", "l2" (its norm) or "loss+" (its norm times its loss). The
            weights are those of the gradients as they came, with the division in them; released code that divides only
            for finding the weights loses the descent of every task.

    Reference:
        Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, eq. 3:
        min |sum_t a_t g_t|^2 over a >= 0, sum_t a_t = 1; a_1 = (g_2 - g_1) . g_2 / |g_1 - g_2|^2, cut to [0, 1], for two.
        Solved exactly, where theirs iterates (Frank-Wolfe). Weights are T a_t.
    """

    needs_gram = True

    def __init__(self, num_tasks, seed=0, normalize="none"):
        super().__init__(num_tasks, seed)
        require_few_tasks(num_tasks)
        self._normalize = normalize

    def _weights(self, losses_T, gram_TT):
        gram_TT = tf.cast(gram_TT, tf.float64)
        inverse_T = tf.math.reciprocal_no_nan(self._divisors(tf.cast(losses_T, tf.float64), gram_TT))
        gram_TT = gram_TT * inverse_T * inverse_T[:, None]
        multipliers_T = worst_case_multipliers(gram_TT, tf.zeros_like(inverse_T), tf.ones((), tf.float64))
        # NaN is present, so that it is not hidden.
        present_T = tf.linalg.diag_part(gram_TT) != 0
        return tf.cast(shared_out(multipliers_T * inverse_T, present_T), tf.float32)

    def _divisors(self, losses_T, gram_TT):
        if self._normalize == "none":
            return tf.ones_like(losses_T)
        norms_T = tf.sqrt(tf.linalg.diag_part(gram_TT))
        return norms_T * losses_T if self._normalize == "loss+" else norms_T
