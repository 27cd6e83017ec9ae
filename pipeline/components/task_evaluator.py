"""Measures by task that TFMA does not have (GAUC, calibration error, XAUC), on the evaluation split."""

import dataclasses
import json
from pathlib import Path

import pydantic
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import Channel, artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from data.schema import EVAL_SPLIT
from models.config import TaskConfig
from models.metrics import Metric
from pipeline.components.artifacts import TaskMetrics
from pipeline.scoring import measure, score

METRICS_FILE = "metrics.json"
_TASKS = pydantic.TypeAdapter(tuple[TaskConfig, ...])


class _Spec(ComponentSpec):
    PARAMETERS = {"tasks": ExecutionParameter(type=str)}
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"metrics": ChannelParameter(type=TaskMetrics)}


class Executor(base_executor.BaseExecutor):
    """Scores the raw evaluation rows through the served signature and measures each task."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802, the name is TFX's
        """Writes `metrics.json`.

        Args:
            input_dict: artifacts `examples` (raw) and `model`.
            output_dict: artifact `metrics`.
            exec_properties: `tasks`, the JSON of `TaskConfig`s.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        tasks = _TASKS.validate_json(exec_properties["tasks"])
        model_uri = artifact_utils.get_single_uri(input_dict["model"])
        rows = score(
            path_utils.serving_model_path(model_uri),
            artifact_utils.get_split_uri(input_dict["examples"], EVAL_SPLIT),
            [task.label for task in tasks],
        )
        target = Path(artifact_utils.get_single_uri(output_dict["metrics"]), METRICS_FILE)
        target.write_text(json.dumps(_as_tree(measure(rows, tasks)), indent=2), encoding="utf-8")


def _as_tree(metrics):
    return {label: {name: dataclasses.asdict(metric) for name, metric in by_name.items()} for label, by_name in metrics.items()}


def read_metrics(folder):
    """Measures that this component wrote.

    Args:
        folder: of the artifact.

    Returns:
        Dict from label to dict from measure to `models.metrics.Metric`.
    """
    tree = json.loads(Path(folder, METRICS_FILE).read_text(encoding="utf-8"))
    return {label: {name: Metric(**metric) for name, metric in by_name.items()} for label, by_name in tree.items()}


class TaskEvaluator(base_component.BaseComponent):
    """Measures a model by task. Output: `metrics`."""

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, examples, model, tasks):
        """Configures the component.

        Args:
            examples: channel of raw examples.
            model: channel of the trained model.
            tasks: `TaskConfig`s.
        """
        super().__init__(
            _Spec(
                examples=examples,
                model=model,
                tasks=_TASKS.dump_json(tasks).decode(),
                metrics=Channel(type=TaskMetrics),
            )
        )
