"""Optimizers whose updates of embedding tables are both right and fast.

The gradient of a table comes as rows, each as often as the batch read it. Of a table of moderate size they are added up to a
dense gradient, which one fused kernel applies: the same mathematics as adding up equal rows first, and faster. A table of
many millions of numbers is too large to be passed over in every step: there only the rows of the batch are updated.
"""

import tensorflow as tf

from models.keras import keras

# Numbers in a table up to which its gradient is made dense. At 34,000 look-ups of 16 numbers a step, one core, Adam takes
# 5.0 ms dense and 6.8 ms by rows at 0.5 million, 8.9 and 11.1 ms at 5 million, 113 and 13 ms at 32 million.
MAX_DENSE_NUMBERS = 8_000_000


class _RowMerging:
    """Mixin of the optimizers of Keras: gradients of equal rows are added up, before clipping measures the gradient.

    Args:
        max_dense_numbers: size of a table up to which its gradient is made dense; None for any.
        **kwargs: of the optimizer.
    """

    def __init__(self, max_dense_numbers=MAX_DENSE_NUMBERS, **kwargs):
        super().__init__(**kwargs)
        self._max_dense_numbers = max_dense_numbers

    def build(self, variables):
        """Makes all state at once; made on the way, it would have a graph of steps traced twice.

        Args:
            variables: that gradients will be applied to.
        """
        self._create_all_weights(variables)

    def _aggregate_gradients(self, grads_and_vars):
        aggregated = super()._aggregate_gradients(grads_and_vars)
        return [(self._merged(gradient), variable) for gradient, variable in aggregated]

    def _merged(self, gradient):
        if not isinstance(gradient, tf.IndexedSlices):
            return gradient
        return merged_rows(gradient, self._max_dense_numbers)

    def _resource_apply_sparse_duplicate_indices(self, grad, handle, indices, **kwargs):
        # Every row stands once already.
        return self._resource_apply_sparse(grad, handle, indices, **kwargs)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "max_dense_numbers": self._max_dense_numbers}


def merged_rows(gradient, max_dense_numbers):
    """Gradient of a table in which every row stands once.

    Args:
        gradient: `tf.IndexedSlices` of static dense shape, rows repeated or not.
        max_dense_numbers: size of a table up to which the result is dense; None for any.

    Returns:
        Tensor of the table's shape, or `tf.IndexedSlices`.
    """
    shape = tf.get_static_value(gradient.dense_shape)
    if max_dense_numbers is None or (shape is not None and shape.prod() <= max_dense_numbers):
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, gradient.dense_shape[0])
    rows, places = tf.unique(gradient.indices)
    return tf.IndexedSlices(tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows)), rows, gradient.dense_shape)


class Adam(_RowMerging, keras.optimizers.legacy.Adam):
    """Adam; in a table above `max_dense_numbers`, rows that the batch does not read rest with their moments.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        global_clipnorm: largest norm of all gradients together; None for any.
        max_dense_numbers: size of a table up to which all of it is updated; None for any.
        **kwargs: of `keras.optimizers.legacy.Adam`.

    Reference:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1 in the form of the end of section
        2: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, w -= rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon).
    """

    def __init__(self, learning_rate=1e-3, global_clipnorm=None, max_dense_numbers=MAX_DENSE_NUMBERS, **kwargs):
        kwargs = {"name": "Adam", **kwargs}
        super().__init__(max_dense_numbers, learning_rate=learning_rate, global_clipnorm=global_clipnorm, **kwargs)

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        constants = apply_state[var.device, var.dtype.base_dtype]
        mean, square = self.get_slot(var, "m"), self.get_slot(var, "v")
        mean_rows = constants["beta_1_t"] * tf.gather(mean, indices) + constants["one_minus_beta_1_t"] * grad
        square_rows = constants["beta_2_t"] * tf.gather(square, indices) + constants["one_minus_beta_2_t"] * tf.square(grad)
        change = constants["lr"] * mean_rows / (tf.sqrt(square_rows) + constants["epsilon"])
        return tf.group(
            mean.scatter_update(tf.IndexedSlices(mean_rows, indices)),
            square.scatter_update(tf.IndexedSlices(square_rows, indices)),
            var.scatter_sub(tf.IndexedSlices(change, indices)),
        )


class Adagrad(_RowMerging, keras.optimizers.legacy.Adagrad):
    """Adagrad; a row without gradient does not move, so that tables of all sizes are treated alike.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        global_clipnorm: largest norm of all gradients together; None for any.
        max_dense_numbers: size of a table up to which its gradient is made dense; None for any.
        **kwargs: of `keras.optimizers.legacy.Adagrad`.

    Reference:
        Duchi et al., "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 2011, figure 1:
        a += g^2, w -= rate g / (sqrt(a) + epsilon), with a = 0.1 at the start.
    """

    def __init__(self, learning_rate=1e-3, global_clipnorm=None, max_dense_numbers=MAX_DENSE_NUMBERS, **kwargs):
        kwargs = {"name": "Adagrad", **kwargs}
        super().__init__(max_dense_numbers, learning_rate=learning_rate, global_clipnorm=global_clipnorm, **kwargs)


def make_optimizer(train_config, learning_rate):
    """Optimizer of a configuration.

    Args:
        train_config: `TrainConfig`.
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.

    Returns:
        `keras.optimizers.legacy.Optimizer`.
    """
    optimizer = {"adam": Adam, "adagrad": Adagrad}[train_config.optimizer]
    # XLA knows no list of distinct rows, as its length depends on the data.
    max_dense_numbers = None if train_config.xla else MAX_DENSE_NUMBERS
    return optimizer(learning_rate, train_config.clip_norm, max_dense_numbers)
