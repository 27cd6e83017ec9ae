"""Publishes the feature tables of a pushed model to the place where the service reads them."""

import json
from pathlib import Path

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import Channel, artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from pipeline.components.artifacts import FeatureTables, PublishedFeatures


class _Spec(ComponentSpec):
    PARAMETERS = {"destination": ExecutionParameter(type=str)}
    INPUTS = {
        "feature_tables": ChannelParameter(type=FeatureTables),
        "pushed_model": ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS = {"published": ChannelParameter(type=PublishedFeatures)}


class Executor(base_executor.BaseExecutor):
    """Copies the tables, each under a temporary name and then by a rename, if the model was pushed."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802, the name is TFX's
        """Publishes the tables.

        Args:
            input_dict: artifacts `feature_tables` and `pushed_model`.
            output_dict: artifact `published`.
            exec_properties: `destination`, a folder.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        is_pushed = bool(pushed.get_int_custom_property("pushed"))
        destination = exec_properties["destination"]
        if is_pushed:
            source = artifact_utils.get_single_uri(input_dict["feature_tables"])
            fileio.makedirs(destination)
            for name in sorted(fileio.listdir(source)):
                fileio.copy(f"{source}/{name}", f"{destination}/{name}.new", overwrite=True)
                fileio.rename(f"{destination}/{name}.new", f"{destination}/{name}", overwrite=True)
        record = {"published": is_pushed, "destination": destination}
        target = Path(artifact_utils.get_single_uri(output_dict["published"]), "published.json")
        target.write_text(json.dumps(record), encoding="utf-8")


class FeaturePublisher(base_component.BaseComponent):
    """Publishes feature tables together with a pushed model. Output: `published`."""

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, feature_tables, pushed_model, destination):
        """Configures the component.

        Args:
            feature_tables: channel of the tables.
            pushed_model: channel of the pusher.
            destination: folder.
        """
        super().__init__(
            _Spec(
                feature_tables=feature_tables,
                pushed_model=pushed_model,
                destination=destination,
                published=Channel(type=PublishedFeatures),
            )
        )
