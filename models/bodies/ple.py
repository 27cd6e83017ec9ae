"""Progressive layered extraction: experts of each task beside shared ones, in levels.

Shapes: B batch, E experts, U units of an expert.
"""

import tensorflow as tf

from models.bodies.body import Body, BodyOutput
from models.keras import keras
from models.layers.experts import Experts
from models.layers.gate import Gate, mixtures
from models.layers.shapes import require_matrix
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class PLE(Body):
    """Levels in which a task's gate mixes the task's own experts and the shared ones.

    Maps (batch, inputs) to a representation (batch, expert_units[-1]) for each task. At every level but the first a task's
    experts and its gate read the task's mixture of the level below; the shared experts read the mixture of a gate over all
    experts of the level below, tasks' and shared. What the tasks share is the shared experts of the top level side by side.

    Args:
        num_tasks: at least 1.
        num_levels: at least 1; one level is the customized gate control (CGC).
        num_shared_experts: by level, at least 1.
        num_task_experts: by level and task, at least 1.
        expert_units: widths of an expert's layers, at least one.
        gate_units: widths of the hidden layers of a gate; none for a linear gate.
        dropout: rate in [0, 1) after every layer of an expert, in training.
        seed: of initial values and dropout.
        **kwargs: of `keras.layers.Layer`.

    Reference:
        Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for Personalized
        Recommendations", RecSys 2020, eq. 1 to 8: g^{k,j}(x) = w^{k,j}(g^{k,j-1}(x)) S^{k,j}(x), where w is a softmax of
        W g^{k,j-1}(x), and S^{k,j} holds the experts of task k and the shared ones of level j.
    """

    def __init__(
        self,
        num_tasks,
        num_levels,
        num_shared_experts,
        num_task_experts,
        expert_units,
        gate_units=(),
        dropout=0.0,
        seed=0,
        **kwargs,
    ):
        super().__init__(num_tasks, dropout, seed, **kwargs)
        self.num_levels = num_levels
        self.num_shared_experts = num_shared_experts
        self.num_task_experts = num_task_experts
        self.expert_units = tuple(expert_units)
        self.gate_units = tuple(gate_units)
        self._task_experts, self._task_gates, self._shared_experts, self._shared_gates = [], [], [], []
        tasks = range(num_tasks)
        for level in range(num_levels):
            self._task_experts.append([self._make_experts(num_task_experts, level, task) for task in tasks])
            self._task_gates.append([self._make_gate(num_task_experts + num_shared_experts, level, task) for task in tasks])
            self._shared_experts.append(self._make_experts(num_shared_experts, level, "shared"))
            if level < num_levels - 1:
                num_all = num_tasks * num_task_experts + num_shared_experts
                self._shared_gates.append(self._make_gate(num_all, level, "shared"))

    def build(self, input_shape):
        """Checks the input's shape.

        Args:
            input_shape: (batch, inputs).
        """
        require_matrix(input_shape)
        super().build(input_shape)

    def call(self, inputs, training=False):
        """Representations of a batch.

        Args:
            inputs: (batch, inputs) float.
            training: whether dropout is applied.

        Returns:
            `BodyOutput`.
        """
        reads_by_task, shared_reads = (inputs,) * self.num_tasks, inputs
        for level in range(self.num_levels):
            shared = self._shared_experts[level](shared_reads, training=training)
            # Out of one matrix and back, so that it is what the tasks' gradients pass through.
            shared = tf.reshape(shared, [-1, self.num_shared_experts * self.expert_units[-1]])
            shared_BEU = tf.reshape(shared, [-1, self.num_shared_experts, self.expert_units[-1]])
            pairs = zip(self._task_experts[level], reads_by_task, strict=True)
            experts_by_task = [experts(reads, training=training) for experts, reads in pairs]
            if level < self.num_levels - 1:
                weights = self._shared_gates[level](shared_reads)
                shared_reads = mixtures(weights, tf.concat([*experts_by_task, shared_BEU], axis=1))[0]
            gates = zip(self._task_gates[level], reads_by_task, experts_by_task, strict=True)
            reads_by_task = tuple(
                mixtures(gate(reads), tf.concat([experts_BEU, shared_BEU], axis=1))[0] for gate, reads, experts_BEU in gates
            )
        return BodyOutput(reads_by_task, shared)

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_levels": self.num_levels,
            "num_shared_experts": self.num_shared_experts,
            "num_task_experts": self.num_task_experts,
            "expert_units": list(self.expert_units),
            "gate_units": list(self.gate_units),
        }

    def _make_experts(self, num_experts, level, owner):
        name = f"experts_{level}_{owner}"
        return Experts(num_experts, self.expert_units, self.dropout, seed=derive_seed(self.seed, name), name=name)

    def _make_gate(self, num_experts, level, owner):
        name = f"gate_{level}_{owner}"
        return Gate(1, num_experts, self.gate_units, seed=derive_seed(self.seed, name), name=name)
