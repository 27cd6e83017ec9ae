"""Dropout whose draws go on where a checkpoint was made."""

import tensorflow as tf

from models.keras import keras
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class CountedDropout(keras.layers.Layer):
    """Dropout that draws from its seed and a count of its calls.

    Keras' own layer keeps its random state out of checkpoints, so that a training that goes on after a kill draws other masks
    than one that was never stopped. Here the count is a variable of the layer.

    Args:
        rate: in [0, 1); 0 changes nothing.
        by_row: whether one draw decides on all of a row.
        seed: of the draws.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: If the rate is not in [0, 1).

    Reference:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014; kept numbers are
        divided by 1 - rate in training.
    """

    def __init__(self, rate, by_row=False, seed=0, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be at least 0 and below 1. Received: rate={rate}")
        self.rate = rate
        self.by_row = by_row
        self.seed = seed

    def build(self, input_shape):
        """Creates the count.

        Args:
            input_shape: (batch, ...).
        """
        if self.rate:
            # Replicas count alike and each by itself, which needs no word between them.
            self._num_calls = self.add_weight(
                "num_calls",
                dtype=tf.int32,
                initializer="zeros",
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
        super().build(input_shape)

    def call(self, inputs, training=False):
        """Inputs with some numbers set to 0.

        Args:
            inputs: (batch, ...) float.
            training: whether numbers are dropped.

        Returns:
            Of the same shape.
        """
        if not training or not self.rate:
            return inputs
        self._num_calls.assign_add(1)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.stack([self.seed ^ tf.cast(replica, tf.int32), tf.convert_to_tensor(self._num_calls)])
        noise_shape = [None] + [1] * (inputs.shape.rank - 1) if self.by_row else None
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed, noise_shape=noise_shape)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "rate": self.rate, "by_row": self.by_row, "seed": self.seed}


def make_dropouts(rate, num_layers, seed):
    """A dropout layer for each of several hidden layers.

    Args:
        rate: in [0, 1).
        num_layers: at least 0.
        seed: of the layer around them.

    Returns:
        List of `CountedDropout`.
    """
    return [
        CountedDropout(rate, seed=derive_seed(seed, f"dropout_{index}"), name=f"dropout_{index}") for index in range(num_layers)
    ]
