"""Fast adaptive multitask optimization.

Shapes: T tasks.
"""

import numpy as np
import tensorflow as tf

from models.balancing.method import BalancingMethod, shared_out

# Of Adam's running means of the gradient and of its square.
DECAYS_21 = np.array([[0.9], [0.999]], np.float32)
SMALLEST = np.finfo(np.float32).tiny


class FAMO(BalancingMethod):
    """Lets all losses fall at one relative rate, by what each step did to them; no gradients are compared.

    Args:
        num_tasks: at least 1.
        seed: without effect.
        learning_rate: of the Adam step on the logits, positive.
        decay: pull of the logits to 0, at least 0.

    Reference:
        Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 1: z = softmax(xi); the update is
        that of sum_t w_t L_t with w_t proportional to z_t / L_t; then, with delta = sum_t grad z_t(xi) (log L_t(before) -
        log L_t(after)), a step of xi against delta + decay * xi: by Adam, as in the authors' code. Weights sum to T.
    """

    needs_losses_after = True

    def __init__(self, num_tasks, seed=0, learning_rate=0.025, decay=0.001):
        super().__init__(num_tasks, seed)
        self._decay = decay
        self._logits_T = self._state(tf.zeros([num_tasks]), "logits")
        self._learning_rate = learning_rate
        self._moments_2T = self._state(tf.zeros([2, num_tasks]), "moments")
        self._num_steps = self._state(0.0, "num_steps")

    def observe(self, losses_before, losses_after):
        """Moves weight towards the tasks whose loss fell least.

        Args:
            losses_before: (T,) float, as given to `weights`.
            losses_after: (T,) float, of the same batch with the updated parameters.
        """
        before_T = self._constant("losses_before", losses_before, [self.num_tasks])
        # A loss may vanish within a step, and its logarithm must not.
        after_T = tf.maximum(self._constant("losses_after", losses_after, [self.num_tasks]), SMALLEST)
        present_T = before_T > 0
        falls_T = tf.where(present_T, tf.math.log(tf.maximum(before_T, SMALLEST) / after_T), 0.0)
        logits_T = tf.identity(self._logits_T)
        # Among the tasks of this batch, as if there were no others.
        shares_T = tf.nn.softmax(logits_T) * tf.cast(present_T, tf.float32)
        shares_T = tf.math.divide_no_nan(shares_T, tf.reduce_sum(shares_T))
        gradient_T = shares_T * (falls_T - tf.reduce_sum(shares_T * falls_T))
        self._logits_T.assign(logits_T - self._adam_step(gradient_T + self._decay * logits_T))

    def _weights(self, losses_T, gram_TT):
        return shared_out(tf.math.divide_no_nan(tf.nn.softmax(self._logits_T), losses_T), losses_T > 0)

    def _adam_step(self, gradient_T):
        """Kingma and Ba, "Adam", ICLR 2015, algorithm 1, with their constants."""
        num_steps = self._num_steps + 1.0
        moments_2T = self._moments_2T + (1.0 - DECAYS_21) * (tf.stack([gradient_T, tf.square(gradient_T)]) - self._moments_2T)
        self._num_steps.assign(num_steps)
        self._moments_2T.assign(moments_2T)
        mean_T, square_T = tf.unstack(moments_2T / (1.0 - tf.pow(DECAYS_21, num_steps)))
        return self._learning_rate * mean_T / (tf.sqrt(square_T) + 1e-8)
