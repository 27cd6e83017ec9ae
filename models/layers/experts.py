"""Experts: hidden layers side by side."""

import tensorflow as tf

from models.keras import keras
from models.layers.dropout import make_dropouts
from models.layers.parallel_dense import ParallelDense, side_by_side
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
        self._dense_layers = [
            ParallelDense(num_experts, width, "relu", seed=derive_seed(seed, f"kernel_{index}"), name=f"dense_{index}")
            for index, width in enumerate(self.units)
        ]
        self._dropouts = make_dropouts(dropout, len(self.units), seed)

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
        return self.after_first(self.first_layer(inputs), training)

    @property
    def first_layer(self):
        """`ParallelDense` that reads the input."""
        return self._dense_layers[0]

    def after_first(self, outputs, training=False):
        """What `call` makes of the first layer's outputs.

        Args:
            outputs: (batch, num_experts, units[0]) float.
            training: whether dropout is applied.

        Returns:
            (batch, num_experts, units[-1]) float.
        """
        hidden = self._dropouts[0](outputs, training=training)
        for dense, dropout in zip(self._dense_layers[1:], self._dropouts[1:], strict=True):
            hidden = dropout(dense(hidden), training=training)
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


def read_together(inputs, networks, training=False):
    """Outputs of networks that read the same input, whose first layers are one product of matrices.

    One product that is wide takes about two thirds of the time of several narrow ones.

    Args:
        inputs: (batch, inputs) float.
        networks: `Experts` and `Gate` layers.
        training: whether dropout is applied.

    Returns:
        List of what each network's call returns.
    """
    for network in networks:
        if not network.built:
            # Under its own name, as a variable's name is that of the layers around it.
            network(inputs)
    outputs = side_by_side(inputs, [network.first_layer for network in networks])
    return [network.after_first(first, training) for network, first in zip(networks, outputs, strict=True)]


def through_one_matrix(experts):
    """Experts side by side, and the same experts cut out of that matrix, so that all gradients on them pass through it.

    Args:
        experts: (batch, experts, units) float.

    Returns:
        (batch, experts x units) and (batch, experts, units) float.
    """
    num_experts, units = experts.shape[1:]
    side_by_side_matrix = tf.reshape(experts, [-1, num_experts * units])
    return side_by_side_matrix, tf.reshape(side_by_side_matrix, [-1, num_experts, units])
