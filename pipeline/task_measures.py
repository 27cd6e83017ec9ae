"""The measures of `models.metrics` as a TFMA metric: one computation a model and task, on whole arrays of rows.

TFMA calls a metric row by row, which at three tasks and a few slices takes a minute for what NumPy does in a second. So
`pipeline.evaluator_module` leaves rows in arrays, and this metric takes them as they are.
"""

import apache_beam as beam
import numpy as np
import pydantic
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics.metric_types import StandardMetricInputsPreprocessor

from models.config import TaskConfig
from models.metrics import evaluate, measures_of

GROUP, LIST = "group", "list"
NUM_ROWS = "num_rows"
_TASK = pydantic.TypeAdapter(TaskConfig)


class TaskMeasures(tfma.metrics.Metric):
    """All measures of one task, by the names of `models.metrics`, and `num_rows`, the rows with a known label.

    A measure that the rows of a slice do not define is NaN; a model without the task's output has none.
    """

    def __init__(self, task, ndcg_at):
        """Configures the metric, from JSON.

        Args:
            task: JSON of the `TaskConfig`, whose label is the output's name.
            ndcg_at: places of a list that count for NDCG.
        """
        super().__init__(_computations, task=task, ndcg_at=ndcg_at)


def _computations(task, ndcg_at, model_names=("",), output_names=("",), example_weighted=True):
    task = _TASK.validate_json(task)
    columns = StandardMetricInputsPreprocessor(include_filter={tfma.FEATURES_KEY: {GROUP: {}, LIST: {}}})
    computations = []
    for model in model_names:
        for output in output_names:
            keys = {
                name: tfma.metrics.MetricKey(name, model_name=model, output_name=output, example_weighted=example_weighted)
                for name in (*measures_of(task), NUM_ROWS)
            }
            combiner = TaskCombiner(task, keys, ndcg_at)
            computations.append(tfma.metrics.MetricComputation(list(keys.values()), [columns], combiner))
    return computations


class TaskCombiner(beam.CombineFn):
    """Gathers labels, predictions, weights and groups of rows, and measures them all at once.

    Args:
        task: `TaskConfig`.
        keys: `tfma.metrics.MetricKey` by name of the measure; all of one model and one output.
        ndcg_at: places of a list that count for NDCG.
    """

    def __init__(self, task, keys, ndcg_at):
        super().__init__()
        self._task, self._keys, self._ndcg_at = task, keys, ndcg_at
        [(self._model, self._output)] = {(key.model_name, key.output_name) for key in keys.values()}

    def create_accumulator(self):
        """No rows.

        Returns:
            List of rows' columns, empty.
        """
        return []

    def add_input(self, parts, inputs):
        """Adds rows.

        Args:
            parts: list of rows' columns so far.
            inputs: `StandardMetricInputs`, every value an array over the same rows.

        Returns:
            The list with one entry more; the same where the model lacks the output.
        """
        predictions = _of(self._output, _of(self._model, inputs.predictions))
        if predictions is None:
            return parts
        columns = {
            "labels": _of(self._output, _of(self._model, inputs.labels)),
            "predictions": predictions,
            "weights": _of(self._output, _of(self._model, inputs.example_weights)),
            **{name: inputs.features[name] for name in (GROUP, LIST)},
        }
        return [*parts, columns]

    def merge_accumulators(self, accumulators):
        """All rows of several.

        Args:
            accumulators: lists of rows' columns.

        Returns:
            One list.
        """
        return [columns for parts in accumulators for columns in parts]

    def extract_output(self, parts):
        """Measures of all rows.

        Args:
            parts: list of rows' columns.

        Returns:
            Dict from `MetricKey` to float.
        """
        if not parts:
            return {}
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        label = self._task.label
        measured = evaluate(
            *({label: columns[name]} for name in ("labels", "weights", "predictions")),
            columns[GROUP],
            (self._task,),
            requests=columns[LIST],
            k=self._ndcg_at,
        )[label]
        # TFMA writes numbers only; `pipeline.evaluation.read_slices` turns NaN back into None.
        values = {self._keys[name]: np.nan if metric.value is None else metric.value for name, metric in measured.items()}
        return values | {self._keys[NUM_ROWS]: float(next(iter(measured.values())).num_rows)}


def _of(name, tree):
    """A branch of nested mappings; TFMA leaves a level out where there is one model."""
    if not name or not isinstance(tree, dict):
        return tree
    return tree.get(name)
