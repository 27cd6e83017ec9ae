"""Pooling of a row's list of entries into one vector: their mean, their maximum, or by attention.

Shapes: B batch, L entries, D dimensions, U hidden units.
"""

import tensorflow as tf

from models.keras import keras
from models.seeds import derive_seed


def mean_of_entries(entries, is_entry):
    """Mean over the entries that are there.

    Args:
        entries: (batch, length, dimensions) float.
        is_entry: (batch, length) bool.

    Returns:
        (batch, dimensions) float; zeros where there is no entry.
    """
    present_BL = tf.cast(is_entry, entries.dtype)
    total_BD = tf.einsum("bl,bld->bd", present_BL, entries)
    return tf.math.divide_no_nan(total_BD, tf.reduce_sum(present_BL, axis=1, keepdims=True))


def max_of_entries(entries, is_entry):
    """Largest value of every dimension over the entries that are there.

    Args:
        entries: (batch, length, dimensions) float.
        is_entry: (batch, length) bool.

    Returns:
        (batch, dimensions) float; zeros where there is no entry.
    """
    largest_BD = tf.reduce_max(tf.where(is_entry[:, :, tf.newaxis], entries, entries.dtype.min), axis=1)
    return tf.where(tf.reduce_any(is_entry, axis=1, keepdims=True), largest_BD, 0.0)


@keras.saving.register_keras_serializable(package="smalltowers")
class AttentionPooling(keras.layers.Layer):
    """Sum of entries, each weighed by how it goes with the candidate.

    Maps (entries, is_entry, candidate) to (batch, dimensions). Entries of batch 1 go with every candidate.

    Args:
        units: widths of the hidden ReLU layers that weigh an entry, at least one.
        seed: of initial values.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: If there are no units.

    Reference:
        Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, eq. 3: v(A) = sum_j a(e_j, v_A) e_j,
        a a small network over entry, candidate and their interaction, here [e, v, e - v, e * v]. As there, no softmax: the
        weights of a row need not sum to 1, so that the sum still tells how many entries speak for the candidate. Unlike
        there, the network ends in a sigmoid: a weight lies between 0 and 1, and starts near one half.
    """

    def __init__(self, units, seed=0, **kwargs):
        super().__init__(**kwargs)
        if not units:
            raise ValueError(f"units must hold at least one width. Received: units={units}")
        self.units = tuple(units)
        self.seed = seed
        self._hidden = [
            self._dense(width, f"hidden_{index}", activation="relu") for index, width in enumerate(self.units[1:], start=1)
        ]
        self._score = self._dense(1, "score", use_bias=False)

    def _initializer(self, name):
        return keras.initializers.HeUniform(derive_seed(self.seed, name))

    def _dense(self, width, name, **options):
        return keras.layers.Dense(
            width, kernel_initializer=self._initializer(name), name=name, dtype=self.dtype_policy, **options
        )

    def build(self, input_shape):
        """Makes the first layer's weights.

        Args:
            input_shape: shapes of entries, is_entry and candidate.

        Raises:
            ValueError: If entries and candidate do not have the same known width.
        """
        entries, _, candidate = map(tuple, input_shape)
        if len(entries) != 3 or len(candidate) != 2 or entries[-1] is None or entries[-1] != candidate[-1]:
            raise ValueError(
                "inputs must have shapes (batch, length, dimensions), (batch, length) and (batch, dimensions). "
                f"Received: entries={entries}, candidate={candidate}"
            )
        self.kernel = self.add_weight("kernel", (4 * entries[-1], self.units[0]), initializer=self._initializer("hidden_0"))
        self.bias = self.add_weight("bias", (self.units[0],), initializer="zeros")
        super().build(input_shape)

    def call(self, inputs):
        """Pooled entries.

        Args:
            inputs: entries, (batch or 1, length, dimensions) float; is_entry, (batch or 1, length) bool; candidate, (batch
                or 1, dimensions) float.

        Returns:
            (batch, dimensions) float; zeros where there is no entry.
        """
        entries_BLD, is_entry_BL, candidate_BD = inputs
        hidden_BLU = self._first_layer(entries_BLD, candidate_BD)
        for layer in self._hidden:
            hidden_BLU = layer(hidden_BLU)
        weights_BL = tf.sigmoid(self._score(hidden_BLU)[:, :, 0]) * tf.cast(is_entry_BL, entries_BLD.dtype)
        return tf.matmul(weights_BL[:, tf.newaxis], entries_BLD)[:, 0]

    def _first_layer(self, entries_BLD, candidate_BD):
        """ReLU of [e, v, e - v, e * v] W + b, taken apart: what reads entries alone is computed once for all candidates."""
        of_entry, of_candidate, of_difference, of_product = tf.split(self.kernel, 4)
        candidate_BLD = candidate_BD[:, tf.newaxis]
        hidden_BLU = entries_BLD @ (of_entry + of_difference) + candidate_BLD @ (of_candidate - of_difference)
        return tf.nn.relu(hidden_BLU + (entries_BLD * candidate_BLD) @ of_product + self.bias)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "units": list(self.units), "seed": self.seed}
