"""The graph of a job: one small function a component, wired once, for every runner."""

import json

from tfx import v1 as tfx
from tfx.components.distribution_validator.component import DistributionValidator

from data.columns import candidate_columns, labelled_schema
from data.schema import EVAL_SPLIT, TRAIN_SPLIT, VALIDATION_SPLIT
from models.config import ModelConfig
from pipeline.components.baselines import model_in_service, previous_statistics, warm_start_model
from pipeline.components.feature_publisher import FeaturePublisher
from pipeline.components.gate import Gate
from pipeline.components.log_example_gen import LogExampleGen
from pipeline.components.packed_transform import PackedTransform
from pipeline.components.version_pusher import VersionPusher
from pipeline.evaluation import eval_config
from pipeline.fingerprint import sources_digest
from pipeline.validation import DRIFT_PAIRS, SKEW_PAIRS, distribution_config


def create_components(config, fingerprint, schema_file, models_folder, features_folder, has_metadata=True):
    """Wires the components of a job. Each is given the part of the configuration that it reads: the rest is not its cache's.

    Args:
        config: `pipeline.config.Config`.
        fingerprint: of the input logs, for the cache.
        schema_file: TFDV schema, or None to infer one.
        models_folder: folder of pushed versions.
        features_folder: folder of published feature tables.
        has_metadata: whether the runner lets resolvers look into ML Metadata.

    Returns:
        List of TFX components in topological order.
    """
    example_gen = LogExampleGen(config.data, fingerprint + sources_digest("data"))
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = _schema_gen(schema_file, statistics)
    schema = schema_gen.outputs["schema"]
    validators = _validators(config, statistics, schema, has_metadata)
    transform = _transform(config, examples, schema)
    warm_start = _warm_start(config, transform, example_gen, has_metadata) if config.train.warm_start else None
    tuner = _tuner(config, transform) if config.tuner else None
    found = tuner and tuner.outputs["best_hyperparameters"]
    trainer = _trainer(config, transform, warm_start, found)
    model = trainer.outputs["model"]
    in_service = model_in_service(model, has_metadata)
    evaluator = _evaluator(config, examples, model, in_service, schema)
    pushed_model = in_service.outputs.get("pushed_model")
    gate = Gate(examples, model, config.model.tasks, config.evaluation, in_service.outputs["model"], pushed_model)
    pusher = VersionPusher(
        model,
        gate.outputs["blessing"],
        example_gen.outputs["report"],
        config,
        models_folder,
        pushed_model,
        _blocking_anomalies(config, validators),
        found,
    ).with_id("Pusher")
    publisher = FeaturePublisher(
        example_gen.outputs["feature_tables"], pusher.outputs["pushed_model"], str(features_folder), config.serving.features
    )
    return [
        example_gen, statistics_gen, schema_gen, *validators, transform, *filter(None, [warm_start, tuner]), trainer,
        in_service, evaluator, gate, pusher, publisher,
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


def _schema_gen(schema_file, statistics):
    if schema_file is None:
        return tfx.components.SchemaGen(statistics=statistics, infer_feature_shape=False)
    return tfx.components.ImportSchemaGen(schema_file=str(schema_file))


def _validators(config, statistics, schema, has_metadata):
    """The validators of the data, and the resolver of what one of them compares with."""
    validators = [tfx.components.ExampleValidator(statistics=statistics, schema=schema)]
    columns = labelled_schema(config.data)
    if config.validation.drift:
        previous = previous_statistics(statistics, has_metadata)
        drift = DistributionValidator(
            statistics=statistics,
            baseline_statistics=previous.outputs["statistics"].as_optional(),
            config=distribution_config(config.validation.drift, columns),
            include_split_pairs=list(DRIFT_PAIRS),
        )
        validators += [previous, drift.with_id("DriftValidator")]
    if config.validation.skew:
        skew = DistributionValidator(
            statistics=statistics,
            baseline_statistics=statistics,
            config=distribution_config(config.validation.skew, columns),
            include_split_pairs=list(SKEW_PAIRS),
        )
        validators.append(skew.with_id("SkewValidator"))
    return validators


def _blocking_anomalies(config, validators):
    names = {"ExampleValidator": "schema_anomalies", "DriftValidator": "drift_anomalies", "SkewValidator": "skew_anomalies"}
    if not config.validation.blocking:
        return {}
    return {names[each.id]: each.outputs["anomalies"] for each in validators if each.id in names}


def _transform(config, examples, schema):
    # A value that no row trains on belongs into the out-of-vocabulary buckets.
    analyzed = [TRAIN_SPLIT, *([VALIDATION_SPLIT] if config.train.refit else [])]
    # What Transform reads of the model: another width of a layer must not send all rows through it again.
    model = ModelConfig(features=config.sized_model.features, tasks=config.model.tasks, small_tower=None)
    transform = PackedTransform(
        examples=examples,
        schema=schema,
        preprocessing_fn="pipeline.transform_module.preprocessing_fn",
        custom_config={"model": model.model_dump_json(), "sources": sources_digest("models")},
        disable_statistics=True,
        splits_config=tfx.proto.SplitsConfig(analyze=analyzed, transform=list(config.data.split.names)),
    )
    return transform.with_id("Transform")


def _tuner(config, transform):
    return tfx.components.Tuner(
        tuner_fn="pipeline.tuner_module.tuner_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=[VALIDATION_SPLIT]),
        custom_config={
            "model": config.sized_model.model_dump_json(),
            "train": config.train.model_dump_json(),
            "tuner": config.tuner.model_dump_json(),
            "sources": sources_digest("models"),
        },
    )


def _warm_start(config, transform, example_gen, has_metadata):
    rows, report = transform.outputs["transformed_examples"], example_gen.outputs["report"]
    return warm_start_model(rows, report, config.data.split, has_metadata)


def _trainer(config, transform, warm_start, hyperparameters):
    has_validation = config.data.split.validation_days > 0
    return tfx.components.Trainer(
        run_fn="pipeline.trainer_module.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        base_model=warm_start and warm_start.outputs["model"],
        hyperparameters=hyperparameters,
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        # TFX takes an empty list for the evaluation split, so the module is told when there is nothing to validate on.
        eval_args=tfx.proto.EvalArgs(splits=[VALIDATION_SPLIT] if has_validation else [EVAL_SPLIT]),
        custom_config={
            "model": config.sized_model.model_dump_json(),
            "train": config.train.model_dump_json(),
            "has_validation": json.dumps(has_validation),
            "candidate_columns": json.dumps(candidate_columns(config.data)),
            "unfinished": f"{config.job.root or config.root}/unfinished",
            "sources": sources_digest("models"),
        },
    )


def _evaluator(config, examples, model, in_service, schema):
    """Measures by slice; with no threshold of its own, it blesses nothing."""
    return tfx.components.Evaluator(
        examples=examples,
        model=model,
        baseline_model=in_service.outputs["model"],
        schema=schema,
        eval_config=eval_config(config),
        module_path="pipeline.evaluator_module",
    )
