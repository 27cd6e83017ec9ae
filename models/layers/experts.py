"""Experts: hidden layers side by side."""

from models.keras import keras
from models.layers.parallel_dense import ParallelDense
from models.layers.shapes import require_parts
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class Experts(keras.layers.Layer):
    """Stacks of ReLU layers side by side, each layer followed by dropout; one product of matrices a layer for all of them.

    Maps (batch, inputs), which all experts read, or (batch, num_experts, inputs), of which each reads its own, to
    (batch, num_experts, units[-1]).

    Args:
        num_experts: at least 1.
        units: widths of an expert's layers, at least one.
        dropout: rate in [0, 1) after every layer, in training.
        seed: of initial values and dropout; every expert starts different.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: If `num_experts` is below 1 or `units` is empty.
    """

    def __init__(self, num_experts, units, dropout=0.0, seed=0, **kwargs):
        super().__init__(**kwargs)
        if num_experts < 1:
            raise ValueError(f"num_experts must be at least 1. Received: num_experts={num_experts}")
        if not units:
            raise ValueError("units must hold at least one width. Received: units=()")
        self.num_experts = num_experts
        self.units = tuple(units)
        self.dropout = dropout
        self.seed = seed
        self._layers = []
        for index, width in enumerate(self.units):
            kernel_seed, dropout_seed = derive_seed(seed, f"kernel_{index}"), derive_seed(seed, f"dropout_{index}")
            self._layers.append(ParallelDense(num_experts, width, "relu", seed=kernel_seed, name=f"dense_{index}"))
            if dropout:
                self._layers.append(keras.layers.Dropout(dropout, seed=dropout_seed, name=f"dropout_{index}"))

    def build(self, input_shape):
        """Checks the input's shape.

        Args:
            input_shape: (batch, inputs) or (batch, num_experts, inputs).
        """
        require_parts(input_shape, self.num_experts)
        super().build(input_shape)

    def call(self, inputs, training=False):
        """Outputs of the last layers.

        Args:
            inputs: (batch, inputs) or (batch, num_experts, inputs) float.
            training: whether dropout is applied.

        Returns:
            (batch, num_experts, units[-1]) float.
        """
        hidden = inputs
        for layer in self._layers:
            hidden = layer(hidden, training=training) if isinstance(layer, keras.layers.Dropout) else layer(hidden)
        return hidden

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "units": list(self.units),
            "dropout": self.dropout,
            "seed": self.seed,
        }
