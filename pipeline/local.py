"""The local runner: components one after the other in this process, each watched; TFX's own launcher does the work."""

import dataclasses
import datetime
import hashlib
import shutil
import time
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils, tfx_runner
from tfx.orchestration.portable.mlmd import execution_lib

from data.ingest import input_files
from pipeline.causes import one_line_cause
from pipeline.errors import ComponentError, ConfigError
from pipeline.fingerprint import inputs_digest
from pipeline.graph import create_components, create_pipeline


@dataclasses.dataclass(frozen=True)
class ComponentRun:
    """One finished component.

    Attributes:
        name: its id in the graph.
        is_cached: whether an earlier execution's outputs stand in.
        seconds: wall time.
        outputs: list of TFX artifacts by output key.
    """

    name: str
    is_cached: bool
    seconds: float
    outputs: dict


class WatchedLocalRunner(tfx_runner.IrBasedRunner):
    """Runs a pipeline in this process and tells an observer of every component's start and end.

    TFX's own local runner goes on in silence when a component's inputs cannot be resolved; this one stops there.
    """

    def __init__(self, on_start, on_end):
        """Configures the runner.

        Args:
            on_start: called with a component's name.
            on_end: called with a `ComponentRun`.
        """
        self._on_start = on_start
        self._on_end = on_end

    def run_with_ir(self, pipeline, run_options=None, **kwargs):
        """Runs every component in topological order.

        Args:
            pipeline: compiled pipeline.
            run_options: not used; the interface asks for it.
            **kwargs: not used; the interface asks for them.

        Raises:
            ComponentError: If a component fails or its inputs are missing.
        """
        run_id = datetime.datetime.now(datetime.timezone.utc).isoformat()
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection_config = deployment.metadata_connection_config
        connection = getattr(connection_config, connection_config.WhichOneof("connection_config"))
        for node in pipeline.nodes:
            self._run_node(pipeline, node.pipeline_node, deployment, connection)

    def _run_node(self, pipeline, node, deployment, connection):
        name = node.node_info.id
        self._on_start(name)
        started = time.monotonic()
        component = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(connection),
            pipeline_info=pipeline.pipeline_info,
            pipeline_runtime_spec=pipeline.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
        )
        try:
            execution_info = component.launch()
        except Exception as error:
            raise ComponentError(name, one_line_cause(error)) from error
        state, outputs = _outcome(connection, execution_info)
        if state not in (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED):
            raise ComponentError(name, "its inputs could not be resolved; the log file says which")
        is_cached = state == metadata_store_pb2.Execution.CACHED
        self._on_end(ComponentRun(name, is_cached, time.monotonic() - started, outputs))


def _outcome(connection, execution_info):
    """State and output artifacts of an execution, as the metadata store has them."""
    with metadata.Metadata(connection) as handle:
        [execution] = handle.store.get_executions_by_id([execution_info.execution_id])
        return execution.last_known_state, execution_lib.get_output_artifacts(handle, execution.id)


def run_locally(config, on_plan, on_start, on_end, beam_args=(), enable_cache=True):
    """Runs a job on this machine.

    Args:
        config: `pipeline.config.Config`.
        on_plan: called once with the names of all components in order.
        on_start: called with a component's name when it starts.
        on_end: called with a `ComponentRun` when it has ended.
        beam_args: flags of Beam.
        enable_cache: whether unchanged components are skipped.

    Raises:
        ComponentError: If a component fails; names it and its cause.
        ConfigError: If `job.schema_file` does not exist.
    """
    config.root.mkdir(parents=True, exist_ok=True)
    components = create_components(
        config,
        inputs_digest(input_files(config.data)),
        _keep_schema(config),
        config.models_folder,
        config.features_folder,
    )
    on_plan([component.id for component in components])
    pipeline = create_pipeline(
        config,
        components,
        config.root / "artifacts",
        tfx.orchestration.metadata.sqlite_metadata_connection_config(str(config.metadata_file)),
        beam_args,
        enable_cache,
    )
    WatchedLocalRunner(on_start, on_end).run(pipeline)


def _keep_schema(config):
    """Copies the schema under a name made of its content: TFX's cache knows a schema file by its path alone."""
    if config.job.schema_file is None:
        return None
    source = Path(config.job.schema_file)
    if not source.is_file():
        raise ConfigError(f"job.schema_file must be a TFDV schema in text format. Received: {source}, which does not exist")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    target = config.root / "schemas" / f"{digest}.pbtxt"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target
