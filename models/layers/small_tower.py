"""The under-parameterised auxiliary tower of a task."""

import tensorflow as tf

from models.keras import keras
from models.layers.pooling import GroupPooling
from models.layers.shapes import require_matrix
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class SmallTower(keras.layers.Layer):
    """One linear unit over the representation or over averages of its groups.

    Maps (batch, units) to (batch,). Present in training only: it predicts its task's label beside the main tower, so that
    the representation becomes useful to a weak reader too.

    Args:
        width: units averaged into one input of the linear unit; 1 reads the representation itself.
        seed: of initial values; towers of one model need different seeds.
        **kwargs: of `keras.layers.Layer`.

    Reference:
        Wang et al., "Small Towers Make Big Differences", arXiv 2008.05808: under-parameterised self-auxiliary tasks, with
        a linear tower and a pooled one among the authors' released settings.
    """

    def __init__(self, width=1, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.seed = seed
        self._pooling = GroupPooling(width, name="pooling")
        self._output = keras.layers.Dense(
            1, kernel_initializer=keras.initializers.GlorotUniform(derive_seed(seed, "output")), name="output"
        )

    def build(self, input_shape):
        """Checks the input's shape.

        Args:
            input_shape: (batch, units).
        """
        require_matrix(input_shape)
        super().build(input_shape)

    def call(self, inputs):
        """Output of the tower.

        Args:
            inputs: (batch, units) float, the representation.

        Returns:
            (batch,) float.
        """
        return tf.squeeze(self._output(self._pooling(inputs)), axis=1)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "width": self.width, "seed": self.seed}
