"""The multi-task ranker: inputs, a body, and per task a main tower and, in training, a small tower.

Shapes: B batch, T tasks.
"""

from typing import NamedTuple

import tensorflow as tf

from data.schema import mask_name
from models.balanced_step import apply_balanced_step
from models.balancing.registry import make_balancing
from models.heads.registry import make_head
from models.inputs import FeatureInputs
from models.keras import tfrs
from models.layers.bias_tower import BiasTower
from models.layers.interaction import make_interaction
from models.mean_losses import MeanLosses
from models.member import Member
from models.part_sizes import part_sizes
from models.seeds import derive_seed


class BatchLosses(NamedTuple):
    """Losses of one batch.

    Attributes:
        tasks: (T,) float32, of every task its weight times the loss of its main tower and, in training, gamma times that of
            its small tower; mean over members.
        main: (T,) float32, of the main towers alone, without the tasks' weights; mean over members.
        known: (T,) float32, sums of the rows' weights; 0 for a task whose label no row knows.
        shared: list of (batch, units), one a member, that all tasks' outputs are computed from.
    """

    tasks: tf.Tensor
    main: tf.Tensor
    known: tf.Tensor
    shared: list


class MultiTaskRanker(tfrs.Model):
    """Predicts every task's label from what a body makes of the features.

    Trained on dicts of transformed columns that hold features, labels and masks; a mask counts as its row's weight. Initial
    values of inputs, body and main towers do not depend on whether small towers or a bias tower are configured, nor on further
    members. Every member learns from its own outputs; served is the mean of what they serve.

    Args:
        config: `ModelConfig`.
        sizes: embedding table rows by feature name, as `models.inputs.table_sizes` gives them.
        seed: of initial values, dropout and the balancing method.

    Attributes:
        config: `ModelConfig`.
        balancing: `models.balancing.method.BalancingMethod`.
        heads: dict from label to `models.heads.head.Head`.
        members: tuple of `models.member.Member`.

    Reference:
        Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS 2017,
        section 2.4: the mean of networks that differ in their initial values; here on the same embeddings.
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
        widths = {label: head.width for label, head in self.heads.items()}
        seeds = [seed, *(derive_seed(seed, f"member_{index}") for index in range(1, config.members))]
        self.members = tuple(Member(config, widths, each, name=f"member_{n}") for n, each in enumerate(seeds))
        self._bias_inputs, self._bias_tower = self._make_bias_tower(sizes, seed)
        self.balancing = make_balancing(config.balancing, len(config.tasks), derive_seed(seed, "balancing"))
        self._mean_losses = MeanLosses(len(config.tasks), name="mean_losses")

    def read(self, inputs, training=False):
        """What the bodies read: the features side by side, or their interaction.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries).
            training: whether the embedding penalty is added to the inputs' losses.

        Returns:
            (batch, width) float.
        """
        if self._interaction is None:
            return self._inputs(inputs, training=training)
        return self._interaction(same_batch(self._inputs.vectors(inputs, training=training).values()))

    def represent(self, inputs, training=False):
        """What each member's body makes of a batch.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries).
            training: whether dropout is applied.

        Returns:
            List of `BodyOutput`, one a member.
        """
        read = self.read(inputs, training=training)
        return [member(read, training=training) for member in self.members]

    def main_outputs(self, inputs, training=False):
        """Outputs of each member's main towers; of a task that is given another, the logit of both together.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries).
            training: whether dropout is applied.

        Returns:
            List of dicts, one a member, from label to (batch,) float32, or (batch, width) where the head's width is not 1.
        """
        bodies = self.represent(inputs, training=training)
        return [member.main_outputs(body, training) for member, body in zip(self.members, bodies, strict=True)]

    def call(self, inputs, training=False):
        """Served values before calibration: probabilities, grades or seconds. No bias tower, no small tower.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries).
            training: whether dropout is applied.

        Returns:
            Dict from label to (batch,) float32.
        """
        outputs = self.main_outputs(inputs, training=training)
        return {label: _mean([head.served(each[label], inputs) for each in outputs]) for label, head in self.heads.items()}

    def batch_losses(self, inputs, training=False):
        """Losses of a batch; small towers and the bias tower take part in training only.

        Args:
            inputs: dict of transformed columns, (batch,) or (batch, entries) with labels and masks.
            training: whether dropout is applied, and small towers and biases count.

        Returns:
            `BatchLosses`.
        """
        weights_TB = tf.stack([tf.cast(inputs[mask_name(label)], tf.float32) for label in self.labels])
        bodies = self.represent(inputs, training=training)
        biases = self._biases(inputs, weights_TB) if training and self._bias_tower is not None else None
        by_member = []
        for member, body in zip(self.members, bodies, strict=True):
            mains = member.main_outputs(body, training, biases)
            smalls = member.small_outputs(body, biases) if training else {}
            by_member.append(self._losses_of(mains, smalls, weights_TB, inputs))
        main_T, tasks_T = (_mean(list(losses)) for losses in zip(*by_member, strict=True))
        return BatchLosses(tasks_T, main_T, tf.reduce_sum(weights_TB, axis=1), [body.shared for body in bodies])

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
            was minimised; and for methods that compare gradients `gradient_cosine`, the smallest of any two tasks,
            `gradient_dominance`, the ratio of the largest norm to the smallest, and
            `gradient_reciprocal_condition`, the reciprocal of the condition number of all tasks' gradients.
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
                **self._parts_of_members(),
                "bias inputs": self._bias_inputs,
                "bias tower": self._bias_tower,
            }
        )

    def _parts_of_members(self):
        parts = {}
        for index, member in enumerate(self.members):
            of = f" of member {index + 1}" if len(self.members) > 1 else ""
            parts[f"body{of}"] = member.body
            parts |= {f"tower {label}{of}": tower for label, tower in member.tower_by_label.items()}
            parts |= {f"small tower {label}{of}": tower for label, tower in member.small_tower_by_label.items()}
        return parts

    @property
    def shared_variables(self):
        """Trainable variables that more than one task reaches: of inputs, interaction and body, without the body's gates."""
        bodies = [member.body for member in self.members]
        of_one_task = {variable.ref() for body in bodies for variable in body.task_variables}
        below = _trainable(self._inputs, self._interaction, *bodies)
        return [variable for variable in below if variable.ref() not in of_one_task]

    @property
    def table_rows(self):
        """Where every embedding table lies that a served model reads, as `models.inputs.FeatureInputs.table_rows`."""
        return self._inputs.table_rows

    @property
    def served_variables(self):
        """Trainable variables that a served model needs: of inputs, interaction, body and main towers."""
        of_members = [part for member in self.members for part in (member.body, *member.tower_by_label.values())]
        return _trainable(self._inputs, self._interaction, *of_members)

    @property
    def served_state(self):
        """Variables that a served model needs and that no gradient moves: what heads learned of the training rows."""
        return [variable for head in self.heads.values() for variable in head.state]

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

    def _losses_of(self, mains, smalls, weights_TB, inputs):
        """(T,) losses of one member's main towers, and (T,) what its outputs add to the tasks' losses."""
        main_losses, losses = [], []
        for task, weights_B in zip(self.config.tasks, tf.unstack(weights_TB), strict=True):
            loss_fn, label = self.heads[task.label].loss, inputs[task.label]
            loss = loss_fn(mains[task.label], label, weights_B, inputs)
            main_losses.append(loss)
            if task.label in smalls:
                loss += self.config.small_tower.gamma * loss_fn(smalls[task.label], label, weights_B, inputs)
            losses.append(task.weight * loss)
        return tf.stack(main_losses), tf.stack(losses)

    def _biases(self, inputs, weights_TB):
        places = [self.labels.index(label) for label in self.config.bias_tower.tasks]
        weights_BT = tf.stack([weights_TB[place] for place in places], axis=1)
        biases_BT = self._bias_tower(self._bias_inputs(inputs, training=True), weights_BT, training=True)
        return dict(zip(self.config.bias_tower.tasks, tf.unstack(tf.cast(biases_BT, tf.float32), axis=1), strict=True))


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


def _mean(values):
    """Mean of tensors of one shape; of one tensor, that tensor to the bit."""
    return values[0] if len(values) == 1 else tf.add_n(values) / len(values)


def _trainable(*layers):
    return [variable for layer in layers if layer is not None for variable in layer.trainable_variables]
