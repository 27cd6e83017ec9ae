"""Rows that are alike in some of their columns, as candidates are in those of the user: such columns are multiplied once.

Such a batch is a plain tensor, which any layer reads. Layers of this package find its blocks beside it, and where nothing else
reads the tensor, TensorFlow leaves it out of the graph.

Shapes: B batch, W width, U units.
"""

import itertools

import tensorflow as tf

from models.keras import keras

# On the tensor, as Keras keeps its masks: a layer hands its input on as it is.
_BLOCKS = "_smalltowers_blocks"


def joined(vectors):
    """Vectors side by side; those of one row go with every row of the others.

    Args:
        vectors: tensors (batch, width) or, by their shape, (1, width), at least one of each.

    Returns:
        (batch, width) tensor.
    """
    batch = next(tf.shape(vector)[0] for vector in vectors if vector.shape[0] != 1)
    groups = itertools.groupby(vectors, key=lambda vector: vector.shape[0] == 1)
    blocks = [concat_columns(list(group)) for _, group in groups]
    joined_BW = concat_columns([tf.repeat(block, batch, axis=0) if block.shape[0] == 1 else block for block in blocks])
    setattr(joined_BW, _BLOCKS, blocks)
    return joined_BW


def concat_columns(parts):
    """Parts as one tensor.

    Args:
        parts: tensors (batch, width).

    Returns:
        (batch, width) tensor.
    """
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)


def product(inputs, kernel):
    """Product of matrices, computed for one row where all rows are alike.

    Args:
        inputs: (batch, width) float, of `joined` or not.
        kernel: (width, units) float.

    Returns:
        (batch, units) float.
    """
    blocks = getattr(inputs, _BLOCKS, None)
    if blocks is None:
        return tf.matmul(inputs, kernel)
    # Rows of a kernel that are aligned in memory are not copied.
    kernels = tf.split(kernel, [block.shape[1] for block in blocks], axis=0)
    products = [tf.matmul(block, rows) for block, rows in zip(blocks, kernels, strict=True)]
    repeated = [each for each in products if each.shape[0] == 1]
    return tf.add_n([each for each in products if each.shape[0] != 1]) + tf.add_n(repeated)


@keras.saving.register_keras_serializable(package="smalltowers")
class RepeatedRowsDense(keras.layers.Dense):
    """Keras' dense layer that takes a product of `joined` rows apart."""

    def call(self, inputs):
        """Outputs of the layer.

        Args:
            inputs: (batch, width) float.

        Returns:
            (batch, units) float.
        """
        if getattr(inputs, _BLOCKS, None) is None:
            return super().call(inputs)
        return self.activation(tf.nn.bias_add(product(inputs, self.kernel), self.bias))
