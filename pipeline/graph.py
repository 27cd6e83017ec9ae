"""The graph of a job: one small function a component, wired once, for every runner."""

from tfx import v1 as tfx

from pipeline.components.feature_publisher import FeaturePublisher
from pipeline.components.log_example_gen import LogExampleGen
from pipeline.components.task_evaluator import TaskEvaluator
from pipeline.evaluation import eval_config
from pipeline.fingerprint import sources_digest


def create_components(config, fingerprint, schema_file, models_folder, features_folder):
    """Wires the components of a job.

    Args:
        config: `pipeline.config.Config`.
        fingerprint: of the input logs, for the cache.
        schema_file: TFDV schema, or None to infer one.
        models_folder: folder of pushed versions.
        features_folder: folder of published feature tables.

    Returns:
        List of TFX components in topological order.
    """
    example_gen = LogExampleGen(config.data, fingerprint + sources_digest("data"))
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    schema_gen = _schema_gen(schema_file, statistics_gen)
    schema = schema_gen.outputs["schema"]
    validator = tfx.components.ExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)
    transform = _transform(config, examples, schema)
    trainer = _trainer(config, transform)
    model = trainer.outputs["model"]
    resolver = _resolver()
    evaluator = tfx.components.Evaluator(
        examples=examples,
        model=model,
        baseline_model=resolver.outputs["model"],
        schema=schema,
        eval_config=eval_config(config),
    )
    task_evaluator = TaskEvaluator(examples, model, config.model)
    pusher = _pusher(evaluator, model, models_folder)
    publisher = FeaturePublisher(example_gen.outputs["feature_tables"], pusher.outputs["pushed_model"], str(features_folder))
    return [
        example_gen, statistics_gen, schema_gen, validator, transform, trainer,
        resolver, evaluator, task_evaluator, pusher, publisher,
    ]  # fmt: skip


def create_pipeline(config, components, root, metadata_connection=None, beam_args=(), enable_cache=True):
    """Puts components into a TFX pipeline.

    Args:
        config: `pipeline.config.Config`.
        components: from `create_components`.
        root: folder or bucket of the artifacts.
        metadata_connection: of ML Metadata; None where the runner brings its own.
        beam_args: flags of Beam.
        enable_cache: whether a component whose inputs are unchanged is skipped.

    Returns:
        `tfx.dsl.Pipeline`.
    """
    return tfx.dsl.Pipeline(
        pipeline_name=config.job.name,
        pipeline_root=str(root),
        components=components,
        metadata_connection_config=metadata_connection,
        beam_pipeline_args=list(beam_args),
        enable_cache=enable_cache,
    )


def _schema_gen(schema_file, statistics_gen):
    if schema_file is None:
        return tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=False)
    return tfx.components.ImportSchemaGen(schema_file=str(schema_file))


def _transform(config, examples, schema):
    return tfx.components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="pipeline.transform_module.preprocessing_fn",
        custom_config={"model": config.model.model_dump_json(), "sources": sources_digest("models")},
        disable_statistics=True,
        splits_config=tfx.proto.SplitsConfig(analyze=["train"], transform=["train", "eval"]),
    )


def _trainer(config, transform):
    return tfx.components.Trainer(
        run_fn="pipeline.trainer_module.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config={"config": config.model_dump_json(), "sources": sources_digest("models")},
    )


def _resolver():
    return tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("ModelInService")


def _pusher(evaluator, model, models_folder):
    destination = tfx.proto.PushDestination.Filesystem(base_directory=str(models_folder))
    return tfx.components.Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(filesystem=destination),
    )
