"""What ML Metadata recorded of a run: components, executions, artifacts."""

import dataclasses
import datetime

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import execution_lib

from pipeline.errors import ReportError
from pipeline.metadata import read_only
from pipeline.report.run_report import Component, Output

_STATES = {metadata_store_pb2.Execution.COMPLETE: "done", metadata_store_pb2.Execution.CACHED: "cached"}


@dataclasses.dataclass(frozen=True)
class RecordedRun:
    """A run as ML Metadata has it.

    Attributes:
        run_id: time at which it began, ISO 8601, UTC.
        components: `Component`s in the order in which they began.
        outputs: by component, lists of TFX artifacts by output key.
        properties: by component, what it was given by name.
        ended_at: UTC, of the last change.
    """

    run_id: str
    components: tuple[Component, ...]
    outputs: dict
    properties: dict
    ended_at: datetime.datetime

    @property
    def started_at(self):
        """UTC."""
        return datetime.datetime.fromisoformat(self.run_id)

    @property
    def name(self):
        """Name of the run's files, the time at which it began."""
        return file_name(self.run_id)


def file_name(run_id):
    """Name of a run's files.

    Args:
        run_id: time at which it began, ISO 8601.

    Returns:
        str as "20260111-040500".
    """
    return datetime.datetime.fromisoformat(run_id).strftime("%Y%m%d-%H%M%S")


def recorded_run(metadata_file, name=None):
    """A run of a job.

    Args:
        metadata_file: of the job.
        name: of the run's files; None for the last run.

    Returns:
        `RecordedRun`.

    Raises:
        ReportError: If there is no such run.
    """
    if not metadata_file.exists():
        raise ReportError(f"no run is recorded in {metadata_file}; smalltowers run makes one")
    with metadata.Metadata(read_only(metadata_file)) as handle:
        runs = sorted(handle.store.get_contexts_by_type("pipeline_run"), key=lambda context: context.name)
        chosen = [run for run in runs if name is None or file_name(run.name) == name]
        if not chosen:
            known = ", ".join(file_name(run.name) for run in runs[-3:]) or "none"
            raise ReportError(f"--run must be the time of a recorded run, of late {known}. Received: {name}")
        return _read(handle, chosen[-1])


def _read(handle, run):
    executions = sorted(handle.store.get_executions_by_context(run.id), key=lambda execution: execution.id)
    outputs, properties, components = {}, {}, []
    for execution in executions:
        name = _component_of(handle.store, execution)
        outputs[name] = execution_lib.get_output_artifacts(handle, execution.id)
        properties[name] = {key: value.string_value for key, value in execution.custom_properties.items()}
        state = _STATES.get(execution.last_known_state)
        components.append(
            Component(
                name,
                state or metadata_store_pb2.Execution.State.Name(execution.last_known_state).lower(),
                execution.id,
                (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1e3,
                tuple(
                    Output(key, artifact.id, artifact.uri)
                    for key, artifacts in sorted(outputs[name].items())
                    for artifact in artifacts
                ),
            )
        )
    ended_ms = max((execution.last_update_time_since_epoch for execution in executions), default=0)
    ended_at = datetime.datetime.fromtimestamp(ended_ms / 1e3, datetime.timezone.utc)
    return RecordedRun(run.name, tuple(components), outputs, properties, ended_at)


def _component_of(store, execution):
    """Id of the component in the graph; its context is named after the pipeline and it."""
    node_type = store.get_context_type("node").id
    [node] = [context for context in store.get_contexts_by_execution(execution.id) if context.type_id == node_type]
    return node.name.partition(".")[2]
