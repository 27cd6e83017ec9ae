"""The shared bottom: one representation that all towers read."""

from models.keras import keras
from models.layers.hidden import HiddenLayers
from models.layers.shapes import require_matrix
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class SharedBottom(keras.layers.Layer):
    """Hidden layers shared by all tasks.

    Maps (batch, inputs) to the representation (batch, units[-1]).

    Args:
        units: widths of the layers, at least one.
        dropout: rate in [0, 1) after every layer, in training.
        seed: of initial values and dropout.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: If `units` is empty.

    Reference:
        Caruana, "Multitask Learning", Machine Learning 28, 1997: hard parameter sharing.
    """

    def __init__(self, units, dropout=0.0, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.units = tuple(units)
        if not self.units:
            raise ValueError("units must hold at least one width. Received: units=()")
        self.dropout = dropout
        self.seed = seed
        self._hidden = HiddenLayers(units, dropout, seed=derive_seed(seed, "hidden"), name="hidden")

    def build(self, input_shape):
        """Checks the input's shape.

        Args:
            input_shape: (batch, inputs).
        """
        require_matrix(input_shape)
        super().build(input_shape)

    def call(self, inputs, training=False):
        """Representation of a batch.

        Args:
            inputs: (batch, inputs) float.
            training: whether dropout is applied.

        Returns:
            (batch, units[-1]) float.
        """
        return self._hidden(inputs, training=training)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "units": list(self.units), "dropout": self.dropout, "seed": self.seed}
