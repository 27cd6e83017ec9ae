"""Embedding tables of several features in one variable, so that one lookup and one update serve them all.

Shapes: B batch, N lookups of a row, D dimensions.
"""

import tensorflow as tf

from models.keras import keras
from models.seeds import derive_seed

# Initial values lie within this on both sides of 0.
INITIAL_LIMIT = 0.05


@keras.saving.register_keras_serializable(package="smalltowers")
class EmbeddingTables(keras.layers.Layer):
    """Tables of one width below each other.

    Maps int64 rows of any shape, counted from the first table's, to vectors, (..., dimension).

    Args:
        sizes: rows by table, in their order. A table's initial values depend on its name alone.
        dimension: width of a vector.
        seed: of initial values.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, sizes, dimension, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.sizes = dict(sizes)
        self.dimension = dimension
        self.seed = seed
        self.first_rows = {}
        num_rows = 0
        for name, rows in self.sizes.items():
            self.first_rows[name] = num_rows
            num_rows += rows
        self.num_rows = num_rows

    def build(self, input_shape):
        """Makes the tables.

        Args:
            input_shape: of the rows.
        """

        def initial(_, dtype=None):
            blocks = []
            for name, rows in self.sizes.items():
                seed = derive_seed(self.seed, name)
                blocks.append(
                    keras.initializers.RandomUniform(-INITIAL_LIMIT, INITIAL_LIMIT, seed)((rows, self.dimension), dtype)
                )
            return tf.concat(blocks, axis=0)

        # Cast as a whole for 16-bit computation, the variable would be copied in every step.
        self.embeddings = self.add_weight(
            "embeddings", (self.num_rows, self.dimension), initializer=initial, experimental_autocast=False
        )
        super().build(input_shape)

    def call(self, inputs):
        """Vectors of rows.

        Args:
            inputs: int64 of any shape, row of a table plus `first_rows` of that table.

        Returns:
            (..., dimension) float32.
        """
        return tf.gather(self.embeddings, inputs)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "sizes": self.sizes, "dimension": self.dimension, "seed": self.seed}
