"""The multi-gate mixture of experts.

Shapes: B batch, T tasks, E experts, U units of an expert.
"""

from models.bodies.body import Body, BodyOutput
from models.keras import keras
from models.layers.experts import Experts, read_together, through_one_matrix
from models.layers.gate import Gate, mixtures
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class MMoE(Body):
    """Experts that all tasks share, mixed for each task by a gate of its own.

    Maps (batch, inputs) to a representation (batch, expert_units[-1]) for each task. What the tasks share is the experts'
    outputs side by side.

    Args:
        num_tasks: at least 1.
        num_experts: at least 1.
        expert_units: widths of an expert's layers, at least one.
        gate_units: widths of the hidden layers of a gate; none for a linear gate.
        dropout: rate in [0, 1) after every layer of an expert, in training.
        seed: of initial values and dropout.
        **kwargs: of `keras.layers.Layer`.

    Reference:
        Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018, eq. 5
        to 7: y_k = h^k(f^k(x)), f^k(x) = sum_i g^k(x)_i f_i(x).
    """

    def __init__(self, num_tasks, num_experts, expert_units, gate_units=(), dropout=0.0, seed=0, **kwargs):
        super().__init__(num_tasks, dropout, seed, **kwargs)
        self.num_experts = num_experts
        self.expert_units = tuple(expert_units)
        self.gate_units = tuple(gate_units)
        self._experts = Experts(num_experts, expert_units, dropout, seed=derive_seed(seed, "experts"), name="experts")
        self._gates = Gate(num_tasks, num_experts, gate_units, seed=derive_seed(seed, "gates"), name="gates")

    def call(self, inputs, training=False):
        """Representations of a batch.

        Args:
            inputs: (batch, inputs) float.
            training: whether dropout is applied.

        Returns:
            `BodyOutput`.
        """
        experts_BEU, weights_BTE = read_together(inputs, [self._experts, self._gates], training)
        shared, experts_BEU = through_one_matrix(experts_BEU)
        return BodyOutput(mixtures(weights_BTE, experts_BEU), shared)

    @property
    def task_variables(self):
        """Variables of the gates."""
        return self._gates.trainable_variables

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "expert_units": list(self.expert_units),
            "gate_units": list(self.gate_units),
        }
