"""TFX component of the gate: scores the evaluation rows with the candidate and with the model in service, and judges."""

import json
from pathlib import Path

import pydantic
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import Channel, artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from data.schema import EVAL_SPLIT
from models.config import TaskConfig
from pipeline.components.artifacts import TaskMetrics
from pipeline.components.version_pusher import first_unseen_day
from pipeline.evaluation_config import EvaluationConfig
from pipeline.gate import evaluate_candidate, write_evaluation
from pipeline.scoring import InService, score
from pipeline.skew.predictions import write_prediction_statistics

_TASKS = pydantic.TypeAdapter(tuple[TaskConfig, ...])


class _Spec(ComponentSpec):
    PARAMETERS = {"tasks": ExecutionParameter(type=str), "evaluation": ExecutionParameter(type=str)}
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "in_service": ChannelParameter(type=standard_artifacts.Model, optional=True),
        "pushed_model": ChannelParameter(type=standard_artifacts.PushedModel, optional=True),
    }
    OUTPUTS = {
        "metrics": ChannelParameter(type=TaskMetrics),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Executor(base_executor.BaseExecutor):
    """Measures through the served signature, on raw rows: what is judged is what would be served."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802, the name is TFX's
        """Writes `metrics.json`, statistics of the predictions, and the blessing that the Pusher reads.

        Args:
            input_dict: artifacts `examples` (raw) and `model`; `in_service`, the model to compare with, and `pushed_model`, its
                push, whose configuration tells what it was trained on; both empty where there is none.
            output_dict: artifacts `metrics` and `blessing`.
            exec_properties: `tasks`, the JSON of `TaskConfig`s; `evaluation`, that of the `EvaluationConfig`.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        tasks = _TASKS.validate_json(exec_properties["tasks"])
        evaluation = EvaluationConfig.model_validate_json(exec_properties["evaluation"])
        rows_folder = artifact_utils.get_split_uri(input_dict["examples"], EVAL_SPLIT)
        model = artifact_utils.get_single_instance(input_dict["model"])
        folder = artifact_utils.get_single_uri(output_dict["metrics"])
        others, pushes = input_dict.get("in_service", []), input_dict.get("pushed_model", [])

        def scored(artifact):
            return score(path_utils.serving_model_path(artifact.uri), rows_folder, [task.label for task in tasks])

        unseen_from = first_unseen_day(pushes[0]) if pushes else None
        in_service = InService(_name(others, pushes), scored(others[0]), unseen_from) if others else None
        rows = scored(model)
        result = evaluate_candidate(rows, in_service, tasks, evaluation)
        write_evaluation(result, folder)
        write_prediction_statistics(rows.predictions, folder)
        _bless(artifact_utils.get_single_instance(output_dict["blessing"]), result.is_blessed, model, others)


def _name(others, pushes):
    """How the model in service is called."""
    if pushes:
        return f"version {pushes[0].get_string_custom_property('pushed_version')}"
    return f"model {others[0].id}"


def _bless(blessing, is_blessed, model, others):
    """Writes a blessing as TFX's Evaluator does, for its Pusher and its resolvers."""
    value, file = (
        (constants.BLESSED_VALUE, constants.BLESSED_FILE_NAME)
        if is_blessed
        else (constants.NOT_BLESSED_VALUE, constants.NOT_BLESSED_FILE_NAME)
    )
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    for other in others:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, other.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, other.id)
    Path(blessing.uri).mkdir(parents=True, exist_ok=True)
    Path(blessing.uri, file).touch()


class Gate(base_component.BaseComponent):
    """Measures a model by task and blesses it or not. Outputs: `metrics`, `blessing`."""

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, examples, model, tasks, evaluation, in_service=None, pushed_model=None):
        """Configures the component.

        Args:
            examples: channel of raw examples.
            model: channel of the trained model.
            tasks: `TaskConfig`s.
            evaluation: `EvaluationConfig`; its slices are not read here, and another slice does not ask for another verdict.
            in_service: channel of the model in service, which may be empty; None for none.
            pushed_model: channel of its push; None where the runner cannot tell.
        """
        super().__init__(
            _Spec(
                examples=examples,
                model=model,
                in_service=in_service,
                pushed_model=pushed_model,
                tasks=_TASKS.dump_json(tasks).decode(),
                evaluation=json.dumps(evaluation.model_dump(mode="json", exclude={"slices"}), sort_keys=True),
                metrics=Channel(type=TaskMetrics),
                blessing=Channel(type=standard_artifacts.ModelBlessing),
            )
        )
