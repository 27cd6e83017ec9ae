"""The multi-task ranker: inputs, a body, and per task a main tower and, in training, a small tower.

Shapes: B batch, T tasks.
"""

from typing import NamedTuple

import tensorflow as tf

from data.schema import mask_name
from models.balanced_step import apply_balanced_step
from models.balancing.registry import make_balancing
from models.bodies.body import BodyOutput, require_body_output
from models.bodies.registry import make_body
from models.chain import joint_logits
from models.config import is_simpler
from models.errors import BodyError
from models.heads.registry import make_head
from models.inputs import FeatureInputs
from models.keras import tfrs
from models.layers.bias_tower import BiasTower
from models.layers.interaction import make_interaction
from models.layers.small_tower import SmallTower
from models.layers.tower import Tower
from models.mean_losses import MeanLosses
from models.part_sizes import part_sizes
from models.seeds import derive_seed


class BatchLosses(NamedTuple):
    """Losses of one batch.

    Attributes:
        tasks: (T,) float32, of every task its weight times the loss of its main tower and, in training, gamma times that of
            its small tower.
        main: (T,) float32, of the main towers alone, without the tasks' weights.
        known: (T,) float32, sums of the rows' weights; 0 for a task whose label no row knows.
        body: `BodyOutput`.
    """

    tasks: tf.Tensor
    main: tf.Tensor
    known: tf.Tensor
    body: BodyOutput


class MultiTaskRanker(tfrs.Model):
    """Predicts every task's label from what a body makes of the features.

    Trained on dicts of transformed columns that hold features, labels and masks; a mask counts as its row's weight. Initial
    values of inputs, body and main towers do not depend on whether small towers or a bias tower are configured.

    Args:
        config: `ModelConfig`.
        sizes: embedding table rows by feature name, as `models.inputs.table_sizes` gives them.
        seed: of initial values, dropout and the balancing method.

    Attributes:
        config: `ModelConfig`.
        balancing: `models.balancing.method.BalancingMethod`.
        heads: dict from label to `models.heads.head.Head`.

    Reference:
        Wang et al., "Small Towers Make Big Differences", arXiv 2008.05808. With h_t the representation that task t reads, f_t
        the main tower, a_t the small tower and w_t the weight of the task: L = sum_t w_t (L_t(f_t(h_t)) + gamma L_t(a_t(h_t))).
    """

    def __init__(self, config, sizes, seed=0):
        super().__init__(name="ranker")
        self.config = config
        self.labels = tuple(task.label for task in config.tasks)
        self.heads = {task.label: make_head(task) for task in config.tasks}
        self._inputs = FeatureInputs(
            config.body_features, sizes, l2=config.embedding_l2, seed=derive_seed(seed, "inputs"), name="inputs"
        )
        self._interaction = make_interaction(config.interaction, seed=derive_seed(seed, "interaction"))
        self._body = make_body(config.body, len(config.tasks), config.dropout, seed=derive_seed(seed, "body"))
        self._tower_by_label = {label: self._make_tower(label, seed) for label in self.labels}
        self._small_tower_by_label = self._make_small_towers(seed)
        self._bias_inputs, self._bias_tower = self._make_bias_tower(sizes, seed)
        self.balancing = make_balancing(config.balancing, len(config.tasks), derive_seed(seed, "balancing"))
        self._mean_losses = MeanLosses(len(config.tasks), name="mean_losses")

    def represent(self, inputs, training=False):
        """What the body makes of a batch.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries).
            training: whether dropout is applied.

        Returns:
            `BodyOutput`.

        Raises:
            BodyError: If a body of the user's own returns something else, or too few units for the small towers.
        """
        if self._interaction is None:
            read = self._inputs(inputs, training=training)
        else:
            read = self._interaction(same_batch(self._inputs.vectors(inputs, training=training).values()))
        body = require_body_output(self._body(read, training=training), len(self.labels), self._body.name)
        self._require_simple_small_towers(body)
        return body

    def main_outputs(self, inputs, training=False):
        """Outputs of the main towers; of a task that is given another, the logit of both together.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries).
            training: whether dropout is applied.

        Returns:
            Dict from label to (batch,) float32, or (batch, width) where the head's width is not 1.
        """
        return self._chained(self._main_parts(self.represent(inputs, training=training), training))

    def call(self, inputs, training=False):
        """Served values before calibration: probabilities, grades or seconds. No bias tower, no small tower.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries).
            training: whether dropout is applied.

        Returns:
            Dict from label to (batch,) float32.
        """
        outputs = self.main_outputs(inputs, training=training)
        return {label: head.served(outputs[label], inputs) for label, head in self.heads.items()}

    def batch_losses(self, inputs, training=False):
        """Losses of a batch; small towers and the bias tower take part in training only.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries) with labels and masks.
            training: whether dropout is applied, and small towers and biases count.

        Returns:
            `BatchLosses`.
        """
        weights_TB = tf.stack([tf.cast(inputs[mask_name(label)], tf.float32) for label in self.labels])
        body = self.represent(inputs, training=training)
        mains = self._main_parts(body, training)
        smalls = self._small_parts(body) if training else {}
        if training and self._bias_tower is not None:
            for label, bias in self._biases(inputs, weights_TB).items():
                mains[label] += bias if mains[label].shape.rank == 1 else bias[:, None]
                if label in smalls:
                    smalls[label] += bias if smalls[label].shape.rank == 1 else bias[:, None]
        mains, smalls = self._chained(mains), self._chained(smalls, parents=mains)
        main_losses, losses = [], []
        for task, weights_B in zip(self.config.tasks, tf.unstack(weights_TB), strict=True):
            loss_fn, label = self.heads[task.label].loss, inputs[task.label]
            loss = loss_fn(mains[task.label], label, weights_B, inputs)
            main_losses.append(loss)
            if task.label in smalls:
                loss += self.config.small_tower.gamma * loss_fn(smalls[task.label], label, weights_B, inputs)
            losses.append(task.weight * loss)
        return BatchLosses(tf.stack(losses), tf.stack(main_losses), tf.reduce_sum(weights_TB, axis=1), body)

    def task_losses(self, inputs, training=False):
        """Losses that are balanced: of every task its weight times (main + gamma x small).

        Args:
            inputs: as of `batch_losses`.
            training: as of `batch_losses`.

        Returns:
            (T,) float32.
        """
        return self.batch_losses(inputs, training=training).tasks

    def compute_loss(self, inputs, training=False):
        """Sum of the tasks' losses, without penalties and without balancing.

        Args:
            inputs: as of `batch_losses`.
            training: as of `batch_losses`.

        Returns:
            Scalar float32.
        """
        return tf.reduce_sum(self.task_losses(inputs, training=training))

    @tf.autograph.experimental.do_not_convert
    def train_step(self, inputs):
        """One step; without AutoGraph, which would rewrite every Keras function under it for tens of seconds.

        Args:
            inputs: as of `batch_losses`.

        Returns:
            Dict from name to scalar: `{label}_loss`, the main tower's mean over the known rows since the metrics were reset;
            of this batch `batch_{label}_loss`, as balanced, `weight_{label}`, by the balancing method, and `total_loss`, what
            was minimised; and for methods that compare gradients `gradient_cosine`, the smallest of any two tasks, and
            `gradient_dominance`, the ratio of the largest norm to the smallest.
        """
        step = apply_balanced_step(self, inputs)
        self._mean_losses.update_state(step.losses.main, step.losses.known)
        batch = {f"batch_{label}_loss": loss for label, loss in zip(self.labels, tf.unstack(step.tasks), strict=True)}
        weights = {f"weight_{label}": weight for label, weight in zip(self.labels, tf.unstack(step.weights), strict=True)}
        return {**self.mean_losses(), **batch, **weights, "total_loss": step.total, **step.conflict}

    @tf.autograph.experimental.do_not_convert
    def test_step(self, inputs):
        """Losses of one evaluation batch; without AutoGraph, as `train_step`.

        Args:
            inputs: as of `batch_losses`.

        Returns:
            Dict from name to scalar: `{label}_loss` as of `train_step`, and `total_loss`, their sum by the tasks' weights.
        """
        losses = self.batch_losses(inputs)
        self._mean_losses.update_state(losses.main, losses.known)
        means = self.mean_losses()
        return {**means, "total_loss": tf.add_n([task.weight * means[f"{task.label}_loss"] for task in self.config.tasks])}

    def mean_losses(self):
        """Mean losses of the main towers over the known rows since the metrics were reset.

        Returns:
            Dict from `{label}_loss` to scalar float32.
        """
        return {f"{label}_loss": loss for label, loss in zip(self.labels, tf.unstack(self._mean_losses.result()), strict=True)}

    def adapt_heads(self, columns):
        """Lets every head that needs it learn from all training rows.

        Args:
            columns: NumPy arrays (rows,) by name: labels, masks and the heads' columns, as transformed.
        """
        for head in self.heads.values():
            if head.needs_adapting:
                head.adapt(columns)

    def describe(self):
        """Sizes of the parts of a ranker that has seen a batch.

        Returns:
            Tuple of `models.part_sizes.PartSize`: inputs, interaction, body, main towers, small towers, bias tower.
        """
        return part_sizes(
            {
                "inputs": self._inputs,
                "interaction": self._interaction,
                "body": self._body,
                **{f"tower {label}": tower for label, tower in self._tower_by_label.items()},
                **{f"small tower {label}": tower for label, tower in self._small_tower_by_label.items()},
                "bias inputs": self._bias_inputs,
                "bias tower": self._bias_tower,
            }
        )

    @property
    def shared_variables(self):
        """Trainable variables that more than one task reaches: of inputs, interaction and body, without the body's gates."""
        of_one_task = {variable.ref() for variable in self._body.task_variables}
        below = _trainable(self._inputs, self._interaction, self._body)
        return [variable for variable in below if variable.ref() not in of_one_task]

    @property
    def table_rows(self):
        """Where every embedding table lies that a served model reads, as `models.inputs.FeatureInputs.table_rows`."""
        return self._inputs.table_rows

    @property
    def served_variables(self):
        """Trainable variables that a served model needs: of inputs, interaction, body and main towers."""
        return _trainable(self._inputs, self._interaction, self._body, *self._tower_by_label.values())

    @property
    def served_state(self):
        """Variables that a served model needs and that no gradient moves: what heads learned of the training rows."""
        return [variable for head in self.heads.values() for variable in head.state]

    def _make_tower(self, label, seed):
        name = f"tower_{label}"
        width = self.heads[label].width
        return Tower(self.config.tower_units, width, self.config.dropout, seed=derive_seed(seed, name), name=name)

    def _make_small_towers(self, seed):
        small = self.config.small_tower
        if small is None or small.gamma == 0:
            return {}
        names = {label: f"small_tower_{label}" for label in self.labels if label in (small.tasks or self.labels)}
        return {
            label: SmallTower(small.kind, small.width, self.heads[label].width, seed=derive_seed(seed, name), name=name)
            for label, name in names.items()
        }

    def _make_bias_tower(self, sizes, seed):
        bias = self.config.bias_tower
        if bias is None:
            return None, None
        inputs = FeatureInputs(
            self.config.bias_features,
            sizes,
            l2=self.config.embedding_l2,
            seed=derive_seed(seed, "bias_inputs"),
            name="bias_inputs",
        )
        tower_seed = derive_seed(seed, "bias_tower")
        return inputs, BiasTower(len(bias.tasks), bias.units, bias.dropout, seed=tower_seed, name="bias_tower")

    def _main_parts(self, body, training):
        return {
            label: tf.cast(tower(hidden_BU, training=training), tf.float32)
            for (label, tower), hidden_BU in zip(self._tower_by_label.items(), body.tasks, strict=True)
        }

    def _small_parts(self, body):
        return {
            label: tf.cast(self._small_tower_by_label[label](hidden_BU), tf.float32) / self.config.small_tower.temperature
            for label, hidden_BU in zip(self.labels, body.tasks, strict=True)
            if label in self._small_tower_by_label
        }

    def _biases(self, inputs, weights_TB):
        places = [self.labels.index(label) for label in self.config.bias_tower.tasks]
        weights_BT = tf.stack([weights_TB[place] for place in places], axis=1)
        biases_BT = self._bias_tower(self._bias_inputs(inputs, training=True), weights_BT, training=True)
        return dict(zip(self.config.bias_tower.tasks, tf.unstack(tf.cast(biases_BT, tf.float32), axis=1), strict=True))

    def _chained(self, outputs, parents=None):
        """Outputs in which a task that is given another counts both; parents that have no output here, from `parents`."""
        chained = {}
        for task in self.config.tasks:
            if task.label in outputs:
                chained[task.label] = outputs[task.label]
                if task.given is not None:
                    parent_B = chained[task.given] if task.given in chained else parents[task.given]
                    chained[task.label] = joint_logits(parent_B, outputs[task.label])
        return chained

    def _require_simple_small_towers(self, body):
        """The check of the configuration, for bodies whose width it does not know."""
        small = self.config.small_tower
        if self.config.body.width is not None or not self._small_tower_by_label:
            return
        for label, hidden_BU in zip(self.labels, body.tasks, strict=True):
            width = hidden_BU.shape[1]
            if label in self._small_tower_by_label and not is_simpler(small, width, self.config.tower_units):
                raise BodyError(
                    "small_tower must have fewer parameters than the main tower and no more rank; set gamma = 0 or another "
                    f"kind. Received: kind={small.kind}, width={small.width}, {width} units of the body's output"
                )


def same_batch(vectors):
    """Vectors with as many rows each as the longest; one row goes with every row of the others.

    Args:
        vectors: tensors (batch, width), of which some may say that their batch is 1.

    Returns:
        List of (batch, width).
    """
    vectors = list(vectors)
    longer = [vector for vector in vectors if vector.shape[0] != 1]
    if not longer or len(longer) == len(vectors):
        return vectors
    num_rows = tf.shape(longer[0])[0]
    return [tf.broadcast_to(v, [num_rows, v.shape[1]]) if v.shape[0] == 1 else v for v in vectors]


def _trainable(*layers):
    return [variable for layer in layers if layer is not None for variable in layer.trainable_variables]
