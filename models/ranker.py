"""The multi-task ranker: inputs, a shared body, and per task a main tower and, in training, a small tower.

Shapes: B batch, U units of the representation.
"""

import tensorflow as tf

from data.schema import mask_name
from models.bodies.shared_bottom import SharedBottom
from models.heads import HEADS
from models.inputs import FeatureInputs
from models.keras import keras, tfrs
from models.layers.small_tower import SmallTower
from models.layers.tower import Tower
from models.seeds import derive_seed


class MultiTaskRanker(tfrs.Model):
    """Predicts every task's label from one shared representation.

    Trained on dicts of transformed columns that hold features, labels and masks; a mask counts as its row's weight. Initial
    values of inputs, body and main towers do not depend on whether small towers are configured.

    Args:
        config: `ModelConfig`.
        sizes: embedding table rows by feature name, as `models.inputs.table_sizes` gives them.
        seed: of initial values and dropout.

    Reference:
        Wang et al., "Small Towers Make Big Differences", arXiv 2008.05808. With h the representation, f_t the main tower,
        a_t the small tower and w_t the weight of task t: L = sum_t w_t (L_t(f_t(h)) + gamma L_t(a_t(h))).
    """

    def __init__(self, config, sizes, seed=0):
        super().__init__(name="ranker")
        self.config = config
        self._inputs = FeatureInputs(
            config.features, sizes, l2=config.embedding_l2, seed=derive_seed(seed, "inputs"), name="inputs"
        )
        self._body = SharedBottom(config.bottom_units, config.dropout, seed=derive_seed(seed, "body"), name="body")
        self._tower_by_label = {
            task.label: Tower(
                config.tower_units, config.dropout, seed=derive_seed(seed, f"tower_{task.label}"), name=f"tower_{task.label}"
            )
            for task in config.tasks
        }
        self._small_tower_by_label = {}
        if config.small_tower is not None and config.small_tower.gamma > 0:
            labels = config.small_tower.tasks or [task.label for task in config.tasks]
            width = config.small_tower.width if config.small_tower.kind == "pooled" else 1
            self._small_tower_by_label = {
                label: SmallTower(width, seed=derive_seed(seed, f"small_tower_{label}"), name=f"small_tower_{label}")
                for label in labels
            }
        self._ranking_by_label = {
            task.label: tfrs.tasks.Ranking(loss=HEADS[task.head].loss_fn, name=f"ranking_{task.label}") for task in config.tasks
        }
        self._mean_loss_by_label = {task.label: keras.metrics.Mean(f"{task.label}_loss") for task in config.tasks}

    def represent(self, inputs, training=False):
        """Shared representation h of a batch.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries).
            training: whether dropout is applied.

        Returns:
            (batch, bottom_units[-1]) float32.
        """
        return self._body(self._inputs(inputs, training=training), training=training)

    def main_outputs(self, inputs, training=False):
        """Outputs of the main towers: logits, or log(1 + seconds).

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries).
            training: whether dropout is applied.

        Returns:
            Dict from label to (batch,) float32.
        """
        hidden_BU = self.represent(inputs, training=training)
        return {label: tower(hidden_BU, training=training) for label, tower in self._tower_by_label.items()}

    def call(self, inputs, training=False):
        """Served values: probabilities, or seconds.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries).
            training: whether dropout is applied.

        Returns:
            Dict from label to (batch,) float32.
        """
        outputs = self.main_outputs(inputs, training=training)
        return {task.label: HEADS[task.head].served_fn(outputs[task.label]) for task in self.config.tasks}

    def compute_loss(self, inputs, training=False):
        """Total loss of a batch, without the embedding penalty; small towers take part in training only.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries) with labels and masks.
            training: whether dropout is applied and small towers count.

        Returns:
            Scalar float32.
        """
        hidden_BU = self.represent(inputs, training=training)
        total = 0.0
        for task in self.config.tasks:
            loss = self._task_loss(task.label, self._tower_by_label[task.label](hidden_BU, training=training), inputs)
            known = tf.reduce_sum(inputs[mask_name(task.label)])
            self._mean_loss_by_label[task.label].update_state(loss, sample_weight=known)
            if training and task.label in self._small_tower_by_label:
                auxiliary_B = self._small_tower_by_label[task.label](hidden_BU)
                loss += self.config.small_tower.gamma * self._task_loss(task.label, auxiliary_B, inputs)
            total += task.weight * loss
        return total

    @tf.autograph.experimental.do_not_convert
    def train_step(self, inputs):
        """One step; without AutoGraph, which would rewrite every Keras function under it for tens of seconds.

        Args:
            inputs: as of `compute_loss`.

        Returns:
            Dict from name to scalar: running mean losses, and this batch's `loss` and `total_loss`.
        """
        return super().train_step(inputs)

    @tf.autograph.experimental.do_not_convert
    def test_step(self, inputs):
        """Losses of one evaluation batch; without AutoGraph, as `train_step`.

        Args:
            inputs: as of `compute_loss`.

        Returns:
            As of `train_step`.
        """
        return super().test_step(inputs)

    def _task_loss(self, label, outputs_B, inputs):
        return self._ranking_by_label[label](
            inputs[label], outputs_B, sample_weight=inputs[mask_name(label)], compute_metrics=False
        )

    @property
    def served_variables(self):
        """Variables of inputs, body and main towers: all that a served model needs."""
        layers = (self._inputs, self._body, *self._tower_by_label.values())
        return [variable for layer in layers for variable in layer.trainable_variables]
