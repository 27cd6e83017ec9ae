"""What a balancing method is: losses, and inner products of gradients, in; weights of the tasks out.

Every method here ends in a weighted sum of the tasks' gradients and needs of the gradients no more than their inner
products. So none of them sees a parameter, and all work alike on gradients of parameters and of the representation.

Weights are on one scale: tasks that are alike weigh 1 each. Where a paper's weights sum to 1, ours are T times as large,
so that a change of method is not a change of learning rate.

Shapes: T tasks.
"""

from abc import ABC, abstractmethod

import tensorflow as tf


class BalancingMethod(tf.Module, ABC):
    """Base of all methods; a subclass says in `_weights` how losses and gradients become weights.

    Losses are at least 0 and carry the tasks' own static weights. A task without a known label in a batch has a loss and
    a gradient of exactly 0 there: it is absent, and changes neither the weights of the others nor what is learned of it.

    State is held in variables, so that a checkpoint keeps it. Under a distribution strategy every replica must be given
    the same losses and inner products, those of the global batch.

    Args:
        num_tasks: at least 1.
        seed: of the method's random draws, if it has any.

    Raises:
        ValueError: If `num_tasks` is below 1.
    """

    needs_gram = False
    needs_losses_after = False

    def __init__(self, num_tasks, seed=0):
        super().__init__()
        if num_tasks < 1:
            raise ValueError(f"num_tasks must be at least 1. Received: {num_tasks}")
        self.num_tasks = num_tasks
        self.seed = seed

    def weights(self, losses, gram=None):
        """Weights of the tasks' losses in this step; to be called once a training step.

        Args:
            losses: (T,) float of at least 0, of this batch.
            gram: (T, T) float, inner products of the tasks' gradients; read by methods with `needs_gram` only.

        Returns:
            (T,) float32, at least 0, through which no gradient flows; without meaning for a task absent from the batch. NaN
            where a method reads of `gram` what is NaN: a loss that diverges is for the caller to stop at.

        Raises:
            ValueError: If a shape is not as said, or `gram` is needed and absent.
        """
        losses_T = self._constant("losses", losses, [self.num_tasks])
        if not self.needs_gram:
            return tf.stop_gradient(self._weights(losses_T, None))
        if gram is None:
            raise ValueError(f"gram must be given to {type(self).__name__}. Received: None")
        return tf.stop_gradient(self._weights(losses_T, self._constant("gram", gram, [self.num_tasks] * 2)))

    def regularizer(self, losses):
        """Term of the total loss that trains the method's own `trainable_variables`.

        Args:
            losses: (T,) float of at least 0, of this batch; no gradient flows back to them.

        Returns:
            Scalar float32; 0 for a method without trainable variables.
        """
        del losses
        return tf.zeros(())

    def observe(self, losses_before, losses_after):
        """Learns from what a step has done to the losses of its own batch; called where `needs_losses_after`.

        Args:
            losses_before: (T,) float, as given to `weights`.
            losses_after: (T,) float, of the same batch with the updated parameters.
        """

    def end_epoch(self, mean_losses):
        """Learns from the losses of a whole epoch.

        Args:
            mean_losses: (T,) float of at least 0, means over the training batches of the epoch that ends.
        """

    @abstractmethod
    def _weights(self, losses_T, gram_TT):
        """(T,) weights of the method, before they are checked and cut off from gradients."""

    def _constant(self, name, values, shape):
        tensor = tf.stop_gradient(tf.cast(values, tf.float32))
        if not tensor.shape.is_compatible_with(shape):
            raise ValueError(f"{name} must have the shape {tuple(shape)}. Received: {tuple(tensor.shape)}")
        return tf.ensure_shape(tensor, shape)

    def _state(self, initial, name):
        # Replicas compute the same update; ONLY_FIRST_REPLICA lets each of them assign it within a step.
        return tf.Variable(initial, trainable=False, name=name, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


def mean_over(values_T, present_T):
    """Mean of the values of the tasks that are present.

    Args:
        values_T: (T,) float, finite.
        present_T: (T,) bool.

    Returns:
        Scalar of the values' type; 0 if no task is present.
    """
    counted_T = tf.cast(present_T, values_T.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values_T * counted_T), tf.reduce_sum(counted_T))


def shared_out(parts_T, present_T):
    """Weights in proportion to the parts; they sum to the number of tasks that are present.

    Args:
        parts_T: (T,) float of at least 0.
        present_T: (T,) bool.

    Returns:
        (T,) of the parts' type; 0 for absent tasks, and for all where no part is positive.
    """
    counted_T = tf.cast(present_T, parts_T.dtype)
    return tf.math.divide_no_nan(parts_T, tf.reduce_sum(parts_T * counted_T)) * counted_T * tf.reduce_sum(counted_T)
