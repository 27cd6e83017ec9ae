"""One body with its towers: a ranker has one or, averaged when served, several of them on the same inputs."""

import tensorflow as tf

from models.bodies.body import require_body_output
from models.bodies.registry import make_body
from models.chain import joint_logits
from models.config import is_simpler
from models.errors import BodyError
from models.keras import keras
from models.layers.small_tower import SmallTower
from models.layers.tower import Tower
from models.seeds import derive_seed


class Member(keras.layers.Layer):
    """A body, and per task a main tower and, for training, a small tower.

    Maps (batch, inputs) to a `BodyOutput`; `main_outputs` and `small_outputs` read it.

    Args:
        config: `ModelConfig`.
        widths: numbers that the towers give a row, by label.
        seed: of initial values and dropout.
        **kwargs: of `keras.layers.Layer`.

    Attributes:
        body: layer as `models.bodies.body.Body`.
        tower_by_label: main towers.
        small_tower_by_label: small towers, of the tasks that have one.
    """

    def __init__(self, config, widths, seed=0, **kwargs):
        super().__init__(**kwargs)
        self._config = config
        self.body = make_body(config.body, len(config.tasks), config.dropout, seed=derive_seed(seed, "body"))
        self.tower_by_label, self.small_tower_by_label = {}, {}
        for label, width in widths.items():
            name = f"tower_{label}"
            self.tower_by_label[label] = Tower(
                config.tower_units, width, config.dropout, seed=derive_seed(seed, name), name=name
            )
        small = config.small_tower
        if small is not None and small.gamma:
            for label in (label for label in widths if label in (small.tasks or widths)):
                name = f"small_tower_{label}"
                self.small_tower_by_label[label] = SmallTower(
                    small.kind, small.width, widths[label], seed=derive_seed(seed, name), name=name
                )

    def call(self, inputs, training=False):
        """What the body makes of a batch.

        Args:
            inputs: (batch, inputs) float.
            training: whether dropout is applied.

        Returns:
            `BodyOutput`.

        Raises:
            BodyError: If a body of the user's own returns something else, or too few units for the small towers.
        """
        body = require_body_output(self.body(inputs, training=training), len(self.tower_by_label), self.body.name)
        self._require_simple_small_towers(body)
        return body

    def main_outputs(self, body, training=False, biases=None):
        """Outputs of the main towers; of a task that is given another, the logit of both together.

        Args:
            body: `BodyOutput` of this member.
            training: whether dropout is applied.
            biases: (batch,) float32 by label, added to outputs; None for none.

        Returns:
            Dict from label to (batch,) float32, or (batch, width) where the head's width is not 1.
        """
        # The towers' variables are named by their member, as warm starts tell them apart by name.
        with tf.name_scope(self.name):
            parts = {
                label: tf.cast(tower(hidden_BU, training=training), tf.float32)
                for (label, tower), hidden_BU in zip(self.tower_by_label.items(), body.tasks, strict=True)
            }
        return self._chained(_biased(parts, biases))

    def small_outputs(self, body, biases=None):
        """Outputs of the small towers, as `main_outputs`.

        Args:
            body: `BodyOutput` of this member.
            biases: (batch,) float32 by label, added to outputs; None for none.

        Returns:
            Dict from label to (batch,) float32, or (batch, width) where the head's width is not 1.
        """
        with tf.name_scope(self.name):
            parts = {
                label: tf.cast(self.small_tower_by_label[label](hidden_BU), tf.float32) / self._config.small_tower.temperature
                for label, hidden_BU in zip(self.tower_by_label, body.tasks, strict=True)
                if label in self.small_tower_by_label
            }
        return self._chained(_biased(parts, biases))

    def _chained(self, outputs):
        chained = {}
        for task in self._config.tasks:
            if task.label in outputs:
                chained[task.label] = outputs[task.label]
                if task.given is not None:
                    chained[task.label] = joint_logits(chained[task.given], outputs[task.label])
        return chained

    def _require_simple_small_towers(self, body):
        """The check of the configuration, for bodies whose width it does not know."""
        small = self._config.small_tower
        if self._config.body.width is not None or not self.small_tower_by_label:
            return
        for label, hidden_BU in zip(self.tower_by_label, body.tasks, strict=True):
            width, num_outputs = hidden_BU.shape[1], self.tower_by_label[label].num_outputs
            has_one = label in self.small_tower_by_label
            if has_one and not is_simpler(small, width, self._config.tower_units, num_outputs):
                raise BodyError(
                    "small_tower must have fewer parameters than the main tower and no more rank; set gamma = 0 or another "
                    f"kind. Received: kind={small.kind}, width={small.width}, {width} units of the body's output"
                )


def _biased(outputs, biases):
    """Outputs with the bias of their task, which the first number of a wide output takes, as `models.heads.head` has it."""
    return {
        label: output + _widened(biases[label], output) if biases and label in biases else output
        for label, output in outputs.items()
    }


def _widened(bias_B, output):
    if output.shape.rank == 1:
        return bias_B
    return tf.pad(bias_B[:, None], [[0, 0], [0, output.shape[1] - 1]])
