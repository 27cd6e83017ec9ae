"""Pushes a blessed model as a new version, with the resolved configuration beside it, unless the data has anomalies."""

import json

from tfx.components.pusher import executor as pusher
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import Channel, artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils

from data.report import LABEL_COUNTS_FILE, from_json
from data.split import first_eval_day
from pipeline.components.artifacts import IngestionReport
from pipeline.config import CONFIG_FILE, Config
from pipeline.tuner_config import values_of

PUSHED = "pushed"
MODEL_ID = "model_id"
ANOMALIES = ("schema_anomalies", "drift_anomalies", "skew_anomalies")


class _Spec(ComponentSpec):
    PARAMETERS = {
        "push_destination": ExecutionParameter(type=pusher_pb2.PushDestination),
        "config": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "report": ChannelParameter(type=IngestionReport),
        "in_service": ChannelParameter(type=standard_artifacts.PushedModel, optional=True),
        "hyperparameters": ChannelParameter(type=standard_artifacts.HyperParameters, optional=True),
        **{name: ChannelParameter(type=standard_artifacts.ExampleAnomalies, optional=True) for name in ANOMALIES},
    }
    OUTPUTS = {"pushed_model": ChannelParameter(type=standard_artifacts.PushedModel)}


def has_anomalies(artifact):
    """Whether a validator found an anomaly in a split.

    Args:
        artifact: `ExampleAnomalies` of TFX's ExampleValidator or DistributionValidator.

    Returns:
        bool.
    """
    # By split: 0 for anomalies, 1 for none, 2 for a comparison without a baseline.
    return 0 in (artifact.get_json_value_custom_property("blessed") or {}).values()


def best_values(hyperparameters):
    """What a search found.

    Args:
        hyperparameters: artifacts of TFX's Tuner, at most one.

    Returns:
        Dict from dotted key to value; empty where there was no search.
    """
    if not hyperparameters:
        return {}
    folder = artifact_utils.get_single_uri(hyperparameters)
    return values_of(json.loads(io_utils.read_string_file(io_utils.get_only_uri_in_dir(folder))))


def first_evaluation_day(split, report_folder):
    """First evaluation day of a run.

    Args:
        split: `SplitConfig`.
        report_folder: of the ingestion's report, which tells the days that `eval_days` stands for.

    Returns:
        YYYY-MM-DD.
    """
    counts = from_json(io_utils.read_string_file(f"{report_folder}/{LABEL_COUNTS_FILE}"))
    return first_eval_day(split, max(counts["day"].to_pylist()))


def first_unseen_day(push):
    """Day from which on a pushed model was certainly not trained, as the configuration beside it tells.

    Args:
        push: its `PushedModel`.

    Returns:
        YYYY-MM-DD; None where no configuration of this pipeline lies there.
    """
    file = f"{push.uri}/{CONFIG_FILE}"
    if not fileio.exists(file):
        return None
    # One key alone is read: the rest may be of earlier sources, whose configuration these do not know.
    return json.loads(io_utils.read_string_file(file))["data"]["split"]["eval_from"]


class Executor(pusher.Executor):
    """TFX's own pusher, with one condition and one file more."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802, the name is TFX's
        """Pushes the model if it is blessed and its data is clean.

        Args:
            input_dict: artifacts `model`, `model_blessing`, and `report` of the ingestion; those of `ANOMALIES` that block;
                `in_service`, the push that this one supersedes, for the cache alone: a model that was superseded and comes
                back is pushed again; `hyperparameters`, what the tuner found, if there is one.
            output_dict: artifact `pushed_model`.
            exec_properties: `push_destination`; `config`, the JSON of the job's configuration.
        """
        self._config = Config.model_validate_json(exec_properties["config"])
        super().Do(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict["model"])
        artifact_utils.get_single_instance(output_dict["pushed_model"]).set_int_custom_property(MODEL_ID, model.id)

    def CheckBlessing(self, input_dict):  # noqa: N802, the name is TFX's
        """Whether the model may be pushed.

        Args:
            input_dict: as `Do` has it.

        Returns:
            bool.
        """
        anomalies = [artifact for name in ANOMALIES for artifact in input_dict.get(name, ())]
        return super().CheckBlessing(input_dict) and not any(map(has_anomalies, anomalies))

    def GetModelPath(self, input_dict):  # noqa: N802, the name is TFX's
        """A copy of the model with its configuration, so that both appear in a version together.

        Args:
            input_dict: as `Do` has it.

        Returns:
            Folder.
        """
        staged = f"{self._get_tmp_dir()}/version"
        io_utils.copy_dir(super().GetModelPath(input_dict), staged)
        tuned = self._config.with_values(best_values(input_dict.get("hyperparameters", [])))
        report_folder = artifact_utils.get_single_uri(input_dict["report"])
        config = tuned.evaluated_from(first_evaluation_day(tuned.data.split, report_folder))
        io_utils.write_string_file(f"{staged}/{CONFIG_FILE}", config.model_dump_json(indent=2))
        return staged


class VersionPusher(base_component.BaseComponent):
    """Pushes a model that passed every gate. Output: `pushed_model`."""

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model,
        model_blessing,
        report,
        config,
        destination,
        in_service=None,
        anomalies_by_name=None,
        hyperparameters=None,
    ):
        """Configures the component.

        Args:
            model: channel of the trained model.
            model_blessing: channel of the Evaluator.
            report: channel of the ingestion's report, which tells the days that `data.split.eval_days` stood for.
            config: `pipeline.config.Config`, recorded beside the model.
            destination: folder of versions.
            in_service: channel of the push that this one supersedes; None where the runner cannot tell.
            anomalies_by_name: channels of validators whose anomalies block, by a name of `ANOMALIES`; None for none.
            hyperparameters: channel of the tuner, whose values are recorded in the configuration; None for none.
        """
        filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=str(destination))
        super().__init__(
            _Spec(
                model=model,
                model_blessing=model_blessing,
                report=report,
                in_service=in_service,
                hyperparameters=hyperparameters,
                push_destination=pusher_pb2.PushDestination(filesystem=filesystem),
                config=config.model_dump_json(),
                pushed_model=Channel(type=standard_artifacts.PushedModel),
                **(anomalies_by_name or {}),
            )
        )
