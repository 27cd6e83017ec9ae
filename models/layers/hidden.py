"""Hidden layers: what a body and a tower are made of."""

from models.keras import keras
from models.layers.dropout import make_dropouts
from models.layers.matrix_layer import MatrixLayer
from models.layers.repeated_rows import RepeatedRowsDense
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class HiddenLayers(MatrixLayer):
    """ReLU layers, each followed by dropout.

    Maps (batch, inputs) to (batch, units[-1]), or to its input if there are no layers.

    Args:
        units: widths of the layers.
        dropout: rate in [0, 1) after every layer, in training.
        seed: of initial values and dropout.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, units, dropout=0.0, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.dropout = dropout
        self.seed = seed
        self._dense_layers = [
            RepeatedRowsDense(
                width,
                activation="relu",
                kernel_initializer=keras.initializers.HeUniform(derive_seed(seed, f"kernel_{index}")),
                name=f"dense_{index}",
            )
            for index, width in enumerate(self.units)
        ]
        self._dropouts = make_dropouts(dropout, len(self.units), seed)

    def call(self, inputs, training=False):
        """Output of the last layer.

        Args:
            inputs: (batch, inputs) float.
            training: whether dropout is applied.

        Returns:
            (batch, units[-1]) float.
        """
        hidden = inputs
        for dense, dropout in zip(self._dense_layers, self._dropouts, strict=True):
            hidden = dropout(dense(hidden), training=training)
        return hidden

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "units": list(self.units), "dropout": self.dropout, "seed": self.seed}
