"""The ExampleGen of this project: click and engagement logs in, labelled tf.Examples by split out."""

import dataclasses
import json

from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import Channel, artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from data import ingest
from data.config import DataConfig
from data.run import run_ingestion
from pipeline.components.artifacts import FeatureTables, IngestionReport

COUNTS_FILE = "counts.json"


class _Spec(ComponentSpec):
    PARAMETERS = {"data_config": ExecutionParameter(type=str), "fingerprint": ExecutionParameter(type=str)}
    INPUTS = {}
    OUTPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "feature_tables": ChannelParameter(type=FeatureTables),
        "report": ChannelParameter(type=IngestionReport),
    }


class Executor(base_beam_executor.BaseBeamExecutor):
    """Runs `data.join.IngestLogs` on the configured Beam runner."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802, the name is TFX's
        """Writes examples by split, feature tables, dead letters and counts.

        Args:
            input_dict: empty.
            output_dict: artifacts `examples`, `feature_tables`, `report`.
            exec_properties: `data_config`, the JSON of a `DataConfig`; `fingerprint` of the input, for the cache.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        config = DataConfig.model_validate_json(exec_properties["data_config"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        examples.split_names = artifact_utils.encode_split_names(list(config.split.names))
        if spans := ingest.spans(config):
            examples.set_string_custom_property("span", spans[-1])
            examples.set_string_custom_property("spans", ",".join(spans))
        report_uri = artifact_utils.get_single_uri(output_dict["report"])
        counts = run_ingestion(
            config,
            {split: artifact_utils.get_split_uri([examples], split) for split in config.split.names},
            artifact_utils.get_single_uri(output_dict["feature_tables"]),
            report_uri,
            self._get_tmp_dir(),
            self._beam_pipeline_args,
        )
        fileio.makedirs(report_uri)
        with fileio.open(f"{report_uri}/{COUNTS_FILE}", "w") as file:
            file.write(json.dumps(dataclasses.asdict(counts), indent=2))


class LogExampleGen(base_beam_component.BaseBeamComponent):
    """Ingests both logs. Outputs: `examples` (splits as `SplitConfig.names`), `feature_tables`, `report`."""

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, data_config, fingerprint):
        """Configures the component.

        Args:
            data_config: `DataConfig`.
            fingerprint: string that changes whenever the content of the input may have changed.
        """
        super().__init__(
            _Spec(
                data_config=data_config.model_dump_json(),
                fingerprint=fingerprint,
                examples=Channel(type=standard_artifacts.Examples),
                feature_tables=Channel(type=FeatureTables),
                report=Channel(type=IngestionReport),
            )
        )
