"""What a ranker is worth on rows that it was not trained on, while it is trained.

Shapes: P parts of the rows, T tasks.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from data.schema import mask_name
from models.errors import TrainingError
from models.metrics import MEASURES, evaluate

# Rows of a batch; larger than a training batch, as nothing is kept for gradients.
BATCH_ROWS = 4_096


@dataclasses.dataclass(frozen=True)
class Validated:
    """A ranker on the validation rows.

    Attributes:
        losses: by label, main tower's mean over the known rows.
        measures: by label and name, before calibration, without those by user, day and request, which transformed rows do not
            name; None where the rows do not define one.
        predictions: (rows,) float32 by label, served values before calibration.
        labels: (rows,) float32 by label.
        weights: (rows,) float32 by label; 0 where the label is unknown.
    """

    losses: dict
    measures: dict
    predictions: dict
    labels: dict
    weights: dict


class Validator:
    """Judges a ranker on the same rows again and again.

    Args:
        rows: `TransformedRows`.
        ranker: built `MultiTaskRanker`, judged with the weights that it has at the time.
    """

    def __init__(self, rows, ranker):
        self._rows = rows
        self._ranker = ranker
        self._tasks = ranker.config.tasks
        self._batches = rows.batches(BATCH_ROWS)
        # One graph for all epochs and for the smaller last batch. Called as a function, every validator of a process would
        # count as another trace of the same code, which TensorFlow warns of.
        self._judge_fn = tf.function(self._judge, autograph=False).get_concrete_function(self._batches.element_spec)

    def validate(self):
        """Losses and measures by the present weights.

        Returns:
            `Validated`.

        Raises:
            TrainingError: If there are no validation rows.
        """
        parts = [tf.nest.map_structure(lambda tensor: tensor.numpy(), self._judge_fn(packed)) for packed in self._batches]
        if not parts:
            raise TrainingError("validation needs rows; set data.split.validation_days. Received: none")
        predictions, known = (_joined([part[place] for part in parts]) for place in range(2))
        losses_PT, known_PT = (np.stack([part[place] for part in parts]) for place in (2, 3))
        mean_losses_T = (losses_PT * known_PT).sum(axis=0) / np.maximum(known_PT.sum(axis=0), np.finfo(np.float32).tiny)
        labels = {task.label: known[task.label] for task in self._tasks}
        weights = {task.label: known[mask_name(task.label)] for task in self._tasks}
        losses = dict(zip(labels, mean_losses_T.tolist(), strict=True))
        metrics = evaluate(labels, weights, predictions, None, self._tasks)
        measures = {label: {name: metric.value for name, metric in by_name.items()} for label, by_name in metrics.items()}
        return Validated(losses, measures, predictions, labels, weights)

    def _judge(self, packed):
        columns = self._rows.columns(packed)
        losses = self._ranker.batch_losses(columns)
        known = [name for task in self._tasks for name in (task.label, mask_name(task.label))]
        served = self._ranker(columns, training=False)
        return served, {name: columns[name] for name in known}, losses.main, losses.known


def stopping_value(measure, validated, tasks):
    """What early stopping looks at, to be as low as possible.

    Args:
        measure: "loss" or "<label> <measure>", one of `models.measures.registry.stopping_names`.
        validated: `Validated`.
        tasks: `TaskConfig`s.

    Returns:
        Float: the value itself where lower is better, else its negative.

    Raises:
        TrainingError: If the validation rows do not define the measure.
    """
    if measure == "loss":
        return sum(task.weight * validated.losses[task.label] for task in tasks)
    label, name = measure.split(" ")
    value = validated.measures[label][name]
    if value is None:
        raise TrainingError(f"train.early_stopping.measure must be defined on the validation rows. Received: {measure}")
    return -value if MEASURES[name].higher_is_better else value


def _joined(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
