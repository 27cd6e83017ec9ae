"""Learned vectors of numbers that are given as positions among quantile buckets.

Shapes: B batch, K entries, Q buckets, D dimensions.
"""

import tensorflow as tf

from models.keras import keras
from models.layers.shapes import require_matrix
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class PiecewiseEmbedding(keras.layers.Layer):
    """Vectors that move linearly with a number within each of its buckets; every entry has its own.

    Maps (batch, entries) positions, as `models.numbers.positions` makes them, to (batch, entries x dimension).

    Args:
        entries: number of entries by name, in their order; a name gives its entries' initial values.
        num_buckets: at least 1.
        dimension: width of an entry's vector.
        seed: of initial values.
        **kwargs: of `keras.layers.Layer`.

    Reference:
        Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022, section 3.2: the
        encoding e of an entry, e_q = clip(position - (q - 1), 0, 1), followed by a linear layer of that entry, W e + b, both
        starting uniform within 1 / sqrt(buckets).
    """

    def __init__(self, entries, num_buckets, dimension, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.entries = dict(entries)
        self.num_buckets = num_buckets
        self.dimension = dimension
        self.seed = seed

    def build(self, input_shape):
        """Makes the vectors.

        Args:
            input_shape: (batch, entries).
        """
        require_matrix(input_shape)
        self.kernel = self._add("kernel", (self.num_buckets, self.dimension))
        self.bias = self._add("bias", (self.dimension,))
        super().build(input_shape)

    def _add(self, name, shape):
        limit = self.num_buckets**-0.5

        def initial(_, dtype=None):
            blocks = [
                keras.initializers.RandomUniform(-limit, limit, derive_seed(self.seed, f"{entry}/{name}"))(
                    (size, *shape), dtype
                )
                for entry, size in self.entries.items()
            ]
            return tf.concat(blocks, axis=0)

        return self.add_weight(name, (sum(self.entries.values()), *shape), initializer=initial)

    def call(self, inputs, names=None):
        """Vectors side by side.

        Args:
            inputs: (batch, entries) float in [0, num_buckets].
            names: whose entries are given, side by side; None for all.

        Returns:
            (batch, entries x dimension) float.

        Raises:
            ValueError: If the entries are not as many as the names have.
        """
        names = list(self.entries) if names is None else names
        num_entries = sum(self.entries[name] for name in names)
        if inputs.shape[1] != num_entries:
            raise ValueError(f"inputs must have {num_entries} entries. Received: shape={tuple(inputs.shape)}")
        kernel_KQD, bias_KD = self._of(self.kernel, names), self._of(self.bias, names)
        below_Q = tf.range(self.num_buckets, dtype=inputs.dtype)
        encoded_BKQ = tf.clip_by_value(inputs[:, :, tf.newaxis] - below_Q, 0.0, 1.0)
        vectors_BKD = tf.einsum("bkq,kqd->bkd", encoded_BKQ, kernel_KQD) + bias_KD
        return tf.reshape(vectors_BKD, [-1, num_entries * self.dimension])

    def _of(self, weight, names):
        """The named entries' part of a weight."""
        if names == list(self.entries):
            return weight
        blocks = dict(zip(self.entries, tf.split(weight, list(self.entries.values())), strict=True))
        return tf.concat([blocks[name] for name in names], axis=0)

    def get_config(self):
        """Constructor arguments."""
        config = {"entries": self.entries, "num_buckets": self.num_buckets, "dimension": self.dimension, "seed": self.seed}
        return {**super().get_config(), **config}
