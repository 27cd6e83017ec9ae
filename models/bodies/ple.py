"""Progressive layered extraction: experts of each task beside shared ones, in levels.

Shapes: B batch, E experts, U units of an expert.
"""

import itertools

import tensorflow as tf

from models.bodies.body import Body, BodyOutput
from models.keras import keras
from models.layers.experts import Experts, read_together, through_one_matrix
from models.layers.gate import Gate, mixtures
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

    def call(self, inputs, training=False):
        """Representations of a batch.

        Args:
            inputs: (batch, inputs) float.
            training: whether dropout is applied.

        Returns:
            `BodyOutput`.
        """
        inputs_by_task, shared_inputs = (inputs,) * self.num_tasks, inputs
        for level in range(self.num_levels):
            task_parts, shared_parts = self._level(level, inputs_by_task, shared_inputs, training)
            shared, shared_BEU = through_one_matrix(shared_parts[0])
            if level < self.num_levels - 1:
                experts_BEU = tf.concat([*(experts_BEU for experts_BEU, _ in task_parts), shared_BEU], axis=1)
                shared_inputs = mixtures(shared_parts[1], experts_BEU)[0]
            inputs_by_task = tuple(
                mixtures(weights_B1E, tf.concat([experts_BEU, shared_BEU], axis=1))[0]
                for experts_BEU, weights_B1E in task_parts
            )
        return BodyOutput(inputs_by_task, shared)

    @property
    def task_variables(self):
        """Variables of the tasks' experts on the top level and of the gates around them; the rest feeds the shared gate."""
        layers = [*itertools.chain(*self._task_gates[-2:]), *self._task_experts[-1]]
        return [variable for layer in layers for variable in layer.trainable_variables]

    def _level(self, level, inputs_by_task, shared_inputs, training):
        """Experts and weights of every task's gate, and the same of the shared part, whose gate is missing on the top level."""
        networks_by_task = list(zip(self._task_experts[level], self._task_gates[level], strict=True))
        shared_networks = [self._shared_experts[level], *self._shared_gates[level : level + 1]]
        if level == 0:
            together = read_together(shared_inputs, [*itertools.chain(*networks_by_task), *shared_networks], training)
            places = range(0, 2 * self.num_tasks, 2)
            return [together[place : place + 2] for place in places], together[2 * self.num_tasks :]
        pairs = zip(inputs_by_task, networks_by_task, strict=True)
        task_parts = [read_together(inputs, networks, training) for inputs, networks in pairs]
        return task_parts, read_together(shared_inputs, shared_networks, training)

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
