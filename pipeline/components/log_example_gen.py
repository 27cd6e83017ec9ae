"""The ExampleGen of this project: click and engagement logs in, labelled tf.Examples by split out."""

import dataclasses
import json
from pathlib import Path

from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import Channel, artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from data.config import DataConfig
from data.counts import Counts
from data.errors import EmptyLogError
from data.join import IngestLogs
from data.schema import SPLITS
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
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        report_uri = artifact_utils.get_single_uri(output_dict["report"])
        pipeline = self._make_beam_pipeline()
        pipeline | IngestLogs(
            config,
            {split: artifact_utils.get_split_uri([examples], split) for split in SPLITS},
            artifact_utils.get_single_uri(output_dict["feature_tables"]),
            report_uri,
        )
        result = pipeline.run()
        result.wait_until_finish()
        counts = Counts.from_metrics(result.metrics())
        counts.reconcile()
        try:
            counts.require_rows(config.split)
        except EmptyLogError as error:
            raise EmptyLogError(f"{error}{_first_dead_letter(report_uri)}") from None
        Path(report_uri, COUNTS_FILE).write_text(json.dumps(dataclasses.asdict(counts), indent=2), encoding="utf-8")


def _first_dead_letter(folder):
    """The first record that could not be read: TFX removes a failed component's outputs, so the message must say it."""
    for path in sorted(Path(folder).glob("dead_letters*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            letter = json.loads(line)
            return f". The first dead letter: {letter['file']}, line {letter['line']}: {letter['reason']}"
    return ""


class LogExampleGen(base_beam_component.BaseBeamComponent):
    """Ingests both logs. Outputs: `examples` (splits train and eval), `feature_tables`, `report`."""

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
