"""Gates, which weigh experts by what a row holds.

Shapes: B batch, G gates, E experts, U units of an expert.
"""

import tensorflow as tf

from models.keras import keras
from models.layers.experts import Experts
from models.layers.matrix_layer import MatrixLayer
from models.layers.parallel_dense import ParallelDense
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class Gate(MatrixLayer):
    """Weights of experts that sum to 1, by a softmax of a small network a gate; all gates at once.

    Maps (batch, inputs) to (batch, num_gates, num_experts).

    Args:
        num_gates: at least 1, each with a network of its own.
        num_experts: that every gate weighs, at least 1.
        units: widths of the hidden ReLU layers; none for a linear gate.
        seed: of initial values; every gate starts different.
        **kwargs: of `keras.layers.Layer`.

    Reference:
        Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018, eq. 7:
        g^k(x) = softmax(W_gk x).
    """

    def __init__(self, num_gates, num_experts, units=(), seed=0, **kwargs):
        super().__init__(**kwargs)
        self.num_gates = num_gates
        self.num_experts = num_experts
        self.units = tuple(units)
        self.seed = seed
        self._hidden = Experts(num_gates, units, seed=derive_seed(seed, "hidden"), name="hidden") if units else None
        output_seed = derive_seed(seed, "output")
        self._output = ParallelDense(num_gates, num_experts, "softmax", "GlorotUniform", seed=output_seed, name="output")

    def call(self, inputs):
        """Weights of the experts.

        Args:
            inputs: (batch, inputs) float.

        Returns:
            (batch, num_gates, num_experts) float in [0, 1], sums of 1 over the last axis.
        """
        return self.after_first(self.first_layer(inputs))

    @property
    def first_layer(self):
        """`ParallelDense` that reads the input."""
        return self._hidden.first_layer if self._hidden else self._output

    def after_first(self, outputs, training=False):
        """What `call` makes of the first layer's outputs.

        Args:
            outputs: of `first_layer`.
            training: without effect, as gates have no dropout.

        Returns:
            (batch, num_gates, num_experts) float.
        """
        return self._output(self._hidden.after_first(outputs, training)) if self._hidden else outputs

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_gates": self.num_gates,
            "num_experts": self.num_experts,
            "units": list(self.units),
            "seed": self.seed,
        }


def mixtures(weights, experts):
    """Weighted sums of experts, one a gate.

    Args:
        weights: (batch, gates, experts) float.
        experts: (batch, experts, units) float.

    Returns:
        Tuple of (batch, units) float, in the order of the gates.

    Reference:
        Ma et al., KDD 2018, eq. 6: f^k(x) = sum_i g^k(x)_i f_i(x).
    """
    return tuple(tf.unstack(tf.matmul(weights, experts), axis=1))
