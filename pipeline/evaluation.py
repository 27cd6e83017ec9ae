"""The Evaluator's configuration: which output answers which label, slices, and the gate by task."""

from tensorflow_model_analysis.constants import TF_GENERIC
from tensorflow_model_analysis.proto import config_pb2

from data.schema import mask_name

# Slices are looked at; only all rows together decide, because a small slice's AUC is mostly noise.
_OVERALL = config_pb2.SlicingSpec()

# TFMA blesses nothing that has no threshold of its own; AUC and absolute error are never below this one.
_NO_FLOOR = 0.0

# TFMA goes row by row and measure by measure, so it computes what gates and slices need; the rest is the TaskEvaluator's.
_MEASURE_BY_HEAD = {"binary": "AUC", "log1p": "MeanAbsoluteError"}


def eval_config(config):
    """Translates a job's tasks, slices and gates for TFMA.

    Each task is judged on its own output, label and mask: the mask goes in as the example weight.

    Args:
        config: `pipeline.config.Config`.

    Returns:
        `tfma.EvalConfig`.
    """
    tasks = config.model.tasks
    slicing = [_OVERALL, *(config_pb2.SlicingSpec(feature_keys=[name]) for name in config.evaluation.slices)]
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                signature_name="serving_default",
                model_type=TF_GENERIC,
                label_keys={task.label: task.label for task in tasks},
                example_weight_keys={task.label: mask_name(task.label) for task in tasks},
            )
        ],
        slicing_specs=slicing,
        metrics_specs=[_metrics_spec(task, config.evaluation) for task in tasks],
    )


def _metrics_spec(task, evaluation):
    if task.head == "binary":
        floor = evaluation.min_auc.get(task.label, _NO_FLOOR)
        gate = _gate(evaluation.max_auc_drop, higher_is_better=True, floor=floor)
    else:
        gate = _gate(evaluation.max_mae_rise_seconds, higher_is_better=False)
    overall = config_pb2.PerSliceMetricThreshold(slicing_specs=[_OVERALL], threshold=gate)
    return config_pb2.MetricsSpec(
        output_names=[task.label],
        metrics=[config_pb2.MetricConfig(class_name=_MEASURE_BY_HEAD[task.head], per_slice_thresholds=[overall])],
        example_weights=config_pb2.ExampleWeightOptions(weighted=True),
    )


def _gate(max_loss, higher_is_better, floor=_NO_FLOOR):
    direction = config_pb2.MetricDirection.HIGHER_IS_BETTER if higher_is_better else config_pb2.MetricDirection.LOWER_IS_BETTER
    allowed = -max_loss if higher_is_better else max_loss
    return config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": floor}),
        change_threshold=config_pb2.GenericChangeThreshold(direction=direction, absolute={"value": allowed}),
    )
