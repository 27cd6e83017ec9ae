"""The main tower of a task."""

import tensorflow as tf

from models.keras import keras
from models.layers.hidden import HiddenLayers
from models.layers.matrix_layer import MatrixLayer
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class Tower(MatrixLayer):
    """Hidden layers, then a linear one.

    Maps (batch, units) to (batch,), or to (batch, num_outputs) where they are several.

    Args:
        units: widths of the hidden layers; none gives a linear tower.
        num_outputs: of the linear layer, at least 1.
        dropout: rate in [0, 1) after every hidden layer, in training.
        seed: of initial values and dropout; towers of one model need different seeds.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, units, num_outputs=1, dropout=0.0, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.num_outputs = num_outputs
        self.dropout = dropout
        self.seed = seed
        self._hidden = HiddenLayers(units, dropout, seed=derive_seed(seed, "hidden"), name="hidden")
        initializer = keras.initializers.GlorotUniform(derive_seed(seed, "output"))
        self._output = keras.layers.Dense(num_outputs, kernel_initializer=initializer, name="output")

    def call(self, inputs, training=False):
        """Output of the tower.

        Args:
            inputs: (batch, units) float, the representation.
            training: whether dropout is applied.

        Returns:
            (batch,) or (batch, num_outputs) float.
        """
        outputs = self._output(self._hidden(inputs, training=training))
        return tf.squeeze(outputs, axis=1) if self.num_outputs == 1 else outputs

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            "units": list(self.units),
            "num_outputs": self.num_outputs,
            "dropout": self.dropout,
            "seed": self.seed,
        }
