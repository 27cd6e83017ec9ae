"""Dense layers side by side, computed at once.

Shapes: B batch, I inputs, N parts, U units of a part.
"""

import tensorflow as tf

from models.keras import keras
from models.layers.initializers import Stacked
from models.layers.repeated_rows import product
from models.layers.shapes import require_parts


@keras.saving.register_keras_serializable(package="smalltowers")
class ParallelDense(keras.layers.Layer):
    """Several dense layers of like shape, in one product of matrices.

    Maps (batch, inputs), which all of them read, or (batch, num_parts, inputs), of which each reads its own, to
    (batch, num_parts, units).

    Args:
        num_parts: layers side by side, at least 1.
        units: of each of them, at least 1.
        activation: name of a Keras activation, over the last axis; None for none.
        initializer: name of a class of `keras.initializers`, such as "HeUniform", applied to each part.
        seed: of initial values; every part gets its own.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, num_parts, units, activation=None, initializer="HeUniform", seed=0, **kwargs):
        super().__init__(**kwargs)
        self.num_parts = num_parts
        self.units = units
        self.activation = activation
        self.initializer = initializer
        self.seed = seed
        self._activation_fn = keras.activations.get(activation)

    def build(self, input_shape):
        """Creates kernel and bias.

        Args:
            input_shape: (batch, inputs) or (batch, num_parts, inputs).
        """
        inputs = require_parts(input_shape, self.num_parts)
        # Parts beside each other for a shared input, (I, N, U): the kernel is then a matrix as it lies in memory.
        is_shared = len(input_shape) == 2
        shape = (inputs, self.num_parts, self.units) if is_shared else (self.num_parts, inputs, self.units)
        stacked = Stacked(getattr(keras.initializers, self.initializer), axis=1 if is_shared else 0, seed=self.seed)
        self._kernel = self.add_weight("kernel", shape, initializer=stacked)
        self._bias = self.add_weight("bias", (self.num_parts, self.units), initializer="zeros")
        super().build(input_shape)

    def call(self, inputs):
        """Outputs of all parts.

        Args:
            inputs: (batch, inputs) or (batch, num_parts, inputs) float.

        Returns:
            (batch, num_parts, units) float.
        """
        if inputs.shape.rank == 2:
            return side_by_side(inputs, [self])[0]
        return self._activation_fn(tf.einsum("bni,niu->bnu", inputs, self._kernel) + self._bias)

    def matrices(self):
        """Kernel and bias as those of one dense layer, of a layer that was built for a shared input.

        Returns:
            (inputs, num_parts x units) and (num_parts x units,) float.
        """
        width = self.num_parts * self.units
        return tf.reshape(self._kernel, [self._kernel.shape[0], width]), tf.reshape(self._bias, [width])

    def activated(self, outputs):
        """Outputs of the layer from those of its matrices.

        Args:
            outputs: (batch, num_parts x units) float.

        Returns:
            (batch, num_parts, units) float.
        """
        return self._activation_fn(tf.reshape(outputs, [-1, self.num_parts, self.units]))

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_parts": self.num_parts,
            "units": self.units,
            "activation": self.activation,
            "initializer": self.initializer,
            "seed": self.seed,
        }


def side_by_side(inputs, layers):
    """Outputs of layers that read the same input, in one product of matrices for all of them.

    Args:
        inputs: (batch, inputs) float.
        layers: `ParallelDense` layers, built for that input.

    Returns:
        List of (batch, num_parts, units) float, one a layer.
    """
    kernels, biases = zip(*(layer.matrices() for layer in layers), strict=True)
    outputs = tf.nn.bias_add(product(inputs, tf.concat(kernels, axis=1)), tf.concat(biases, axis=0))
    parts = tf.split(outputs, [bias.shape[0] for bias in biases], axis=1)
    return [layer.activated(part) for layer, part in zip(layers, parts, strict=True)]
