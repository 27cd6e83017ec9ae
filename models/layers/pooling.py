"""Average pooling over groups of neighbouring units."""

import tensorflow as tf

from models.keras import keras
from models.layers.shapes import require_matrix


@keras.saving.register_keras_serializable(package="smalltowers")
class GroupPooling(keras.layers.Layer):
    """Averages of groups of neighbouring units.

    Maps (batch, units) to (batch, units / width).

    Args:
        width: units in a group, at least 1; must divide the input's units.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: If `width` is below 1, or, when built, if it does not divide the units.
    """

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        if width < 1:
            raise ValueError(f"width must be at least 1. Received: width={width}")
        self.width = width

    def build(self, input_shape):
        """Checks the input's shape.

        Args:
            input_shape: (batch, units).

        Raises:
            ValueError: If the rank is not 2 or `width` does not divide the units.
        """
        units = require_matrix(input_shape)
        if units % self.width:
            raise ValueError(f"width must divide the input's units. Received: width={self.width}, units={units}")
        super().build(input_shape)

    def call(self, inputs):
        """Averages over groups.

        Args:
            inputs: (batch, units) float.

        Returns:
            (batch, units / width) float.
        """
        groups = inputs.shape[1] // self.width
        return tf.reduce_mean(tf.reshape(inputs, [-1, groups, self.width]), axis=2)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "width": self.width}
