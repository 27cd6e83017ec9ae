"""Dynamic weight average.

Shapes: T tasks.
"""

import tensorflow as tf

from models.balancing.method import BalancingMethod


class DWA(BalancingMethod):
    """Weights by how little each loss fell from the epoch before last to the last; equal in the first two epochs.

    Args:
        num_tasks: at least 1.
        seed: without effect.
        temperature: of the softmax, positive.

    Reference:
        Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, eq. 7:
        lambda_t = T exp(r_t / temperature) / sum_i exp(r_i / temperature), r_t = L_t(epoch - 1) / L_t(epoch - 2).
    """

    def __init__(self, num_tasks, seed=0, temperature=2.0):
        super().__init__(num_tasks, seed)
        self._temperature = temperature
        # 0 until a task's first epoch with labels has ended.
        self._mean_losses_T = self._state(tf.zeros([num_tasks]), "mean_losses")
        self._weights_T = self._state(tf.ones([num_tasks]), "weights")

    def end_epoch(self, mean_losses):
        """Sets the weights of the next epoch.

        Args:
            mean_losses: (T,) float of at least 0, means over the training batches of the epoch that ends; 0 for a task
                without a label in it, which counts as one whose loss stayed where it was.
        """
        losses_T = self._constant("mean_losses", mean_losses, [self.num_tasks])
        previous_T = tf.identity(self._mean_losses_T)
        has_both_T = (losses_T > 0) & (previous_T > 0)
        ratios_T = tf.where(has_both_T, losses_T / tf.where(has_both_T, previous_T, 1.0), 1.0)
        self._weights_T.assign(self.num_tasks * tf.nn.softmax(ratios_T / self._temperature))
        self._mean_losses_T.assign(tf.where(losses_T > 0, losses_T, previous_T))

    def _weights(self, losses_T, gram_TT):
        return tf.identity(self._weights_T)
