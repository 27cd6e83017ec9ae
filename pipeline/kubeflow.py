"""The Kubeflow runner: emits the KFP v2 specification of the same graph; nothing is run here."""

from pathlib import Path

from tfx import v1 as tfx

from pipeline.errors import ConfigError, PipelineError
from pipeline.graph import create_components, create_pipeline


def compile_specification(config, output):
    """Writes the specification of a job for Kubeflow Pipelines.

    Args:
        config: `pipeline.config.Config`; `job.root` is where artifacts go.
        output: file to write, `.yaml`.

    Returns:
        Names of the components.

    Raises:
        ConfigError: If `job.root` is not given.
        PipelineError: If the `kubeflow` extra is not installed, or `output` is not a `.yaml` file.
    """
    if Path(output).suffix not in (".yaml", ".yml"):
        raise PipelineError(f"the specification is YAML, so its name must end in .yaml. Received: {output}")
    if not hasattr(tfx.orchestration.experimental, "KubeflowV2DagRunner"):
        raise PipelineError("compiling for Kubeflow needs the kfp client: uv sync --extra kubeflow (Python below 3.12)")
    root = config.job.root
    if root is None:
        raise ConfigError("job.root must be a place that every container reaches, such as gs://bucket/feed. Received: none")
    Path(output).absolute().parent.mkdir(parents=True, exist_ok=True)
    components = create_components(
        config,
        "",
        config.job.schema_file,
        f"{root}/models/{config.serving.model_name}",
        f"{root}/features",
        has_metadata=False,
    )
    runner_config = tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
        display_name=config.job.name, default_image=config.job.image
    )
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        config=runner_config, output_dir=str(Path(output).parent), output_filename=Path(output).name
    )
    # No cache: a compiled graph cannot know whether the logs have changed since its last run.
    runner.run(create_pipeline(config, components, f"{root}/artifacts", enable_cache=False))
    return [component.id for component in components]
