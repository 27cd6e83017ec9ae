"""TFMA: its configuration from a job's, and its result as slices by task. It measures by slice; the gate judges."""

import dataclasses
import json
import math

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.constants import TF_GENERIC
from tensorflow_model_analysis.proto import config_pb2

from data.schema import mask_name
from pipeline.slices import bucket_order, slices_of, to_json
from pipeline.task_measures import NUM_ROWS, TaskMeasures

_DIFFERENCE = "_diff"


def eval_config(config):
    """Translates a job's tasks and slices for TFMA.

    Each task is measured on its own output, label and mask: the mask goes in as the example weight. A slice travels as the name
    of a feature, in JSON, which `pipeline.evaluator_module` reads: TFMA has no place for ranges of numbers.

    Args:
        config: `pipeline.config.Config`.

    Returns:
        `tfma.EvalConfig`, without thresholds.
    """
    tasks = config.model.tasks
    slicing = [config_pb2.SlicingSpec(feature_keys=[to_json(each)]) for each in slices_of(config)]
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                signature_name="serving_default",
                model_type=TF_GENERIC,
                label_keys={task.label: task.label for task in tasks},
                example_weight_keys={task.label: mask_name(task.label) for task in tasks},
            )
        ],
        slicing_specs=[config_pb2.SlicingSpec(), *slicing],
        metrics_specs=[_metrics_spec(task, config.evaluation.ndcg_at) for task in tasks],
    )


def _metrics_spec(task, ndcg_at):
    metric = config_pb2.MetricConfig(
        class_name=TaskMeasures.__name__,
        module=TaskMeasures.__module__,
        config=json.dumps({"task": task.model_dump_json(), "ndcg_at": ndcg_at}),
    )
    weighted = config_pb2.ExampleWeightOptions(weighted=True)
    return config_pb2.MetricsSpec(output_names=[task.label], metrics=[metric], example_weights=weighted)


@dataclasses.dataclass(frozen=True)
class SliceResult:
    """One task within the rows of one slice.

    Attributes:
        slice_name: column, or column and entry; empty for all rows.
        bucket: value or range of the column; empty for all rows.
        label: of the task.
        num_rows: rows of the slice with a known label.
        values: by measure; None where the rows do not define it.
        changes: by measure, against the model in service; None where either is not defined, empty without such a model.
    """

    slice_name: str
    bucket: str
    label: str
    num_rows: int
    values: dict
    changes: dict


def read_slices(folder):
    """Measures by slice that TFMA wrote.

    Args:
        folder: of the Evaluator's artifact `evaluation`.

    Returns:
        Tuple of the candidate's `SliceResult`s: all rows first, then by slice, a slice's ranges in rising order and its unknown
        values last.
    """
    results = []
    for metrics in tfma.load_metrics(str(folder)):
        slices = [(key.column, key.bytes_value.decode()) for key in metrics.slice_key.single_slice_keys]
        results += _results_by_task(*(slices[0] if slices else ("", "")), metrics.metric_keys_and_values)
    return tuple(sorted(results, key=lambda each: (each.slice_name, *bucket_order(each.bucket))))


def _results_by_task(slice_name, bucket, metrics):
    values, changes = {}, {}
    for metric in metrics:
        key = metric.key
        # The candidate alone has no name, beside a baseline it has one.
        if key.model_name != tfma.BASELINE_KEY:
            value = metric.value.double_value.value
            of_task = (changes if key.is_diff else values).setdefault(key.output_name, {})
            of_task[key.name.removesuffix(_DIFFERENCE)] = None if math.isnan(value) else value
    for label, of_task in values.items():
        num_rows = int(of_task.pop(NUM_ROWS))
        of_change = changes.get(label, {})
        of_change.pop(NUM_ROWS, None)
        yield SliceResult(slice_name, bucket, label, num_rows, of_task, of_change)
