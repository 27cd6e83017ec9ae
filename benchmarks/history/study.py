"""The rankers of the study: with the past, without it, and with the past refreshed otherwise, on the same rows."""

import dataclasses
import functools
import pathlib

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
from tfx_bsl.public.tfxio import TFExampleRecord

from benchmarks.figures import PROJECT
from data.columns import history_fields
from data.ingest import check_source
from data.run import run_ingestion
from data.schema import EVAL_SPLIT, TRAIN_SPLIT, mask_name
from models.features import preprocess
from models.packing import packed_examples
from models.training import fit
from pipeline.scoring import ScoredRows

SAME, WITHOUT = "the same without the past", "without the past, in its best form"
WITH, OTHER = "with the past", "with the past, refreshed otherwise"

# What the ranker without the past has in its own best form, chosen on 2 May as all other settings: an embedding of the user
# in the place of his statistics, and the two passes that it bears.
OWN_FEATURE = {"kind": "categorical", "name": "user_id", "dimension": 16, "min_count": 2}
OWN_TRAINING = {"batch_size": 256, "epochs": 2, "learning_rate": 1e-3}

_BATCH_ROWS = 4_096


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Rows of one ingestion, transformed.

    Attributes:
        tft_output: `tft.TFTransformOutput`.
        train_files: list of one glob of transformed training rows.
        batches: evaluation rows, list of dicts of transformed columns.
        rows: `pipeline.scoring.ScoredRows` of them, without predictions.
    """

    tft_output: tft.TFTransformOutput
    train_files: list
    batches: list
    rows: ScoredRows


def study(config, seeds, folder, say, has_other_refresh=True):
    """Scored evaluation rows of every ranker.

    Args:
        config: `pipeline.config.Config` with a history.
        seeds: of the trainings.
        folder: `pathlib.Path` for data on its way.
        say: called with what happens now.
        has_other_refresh: whether the past refreshed otherwise is trained too.

    Returns:
        Dict from `SAME`, `WITHOUT`, `WITH` and, if wanted, `OTHER` to list of `ScoredRows`, one a seed.
    """
    own = in_best_form(without_past(config))
    features = {feature.name: feature for each in (own, config) for feature in each.sized_model.features}
    say("Ingesting and transforming ...")
    shipped = prepare(config, folder / "shipped", features.values())
    jobs = {SAME: (without_past(config), shipped), WITHOUT: (own, shipped), WITH: (config, shipped)}
    if has_other_refresh:
        say("Ingesting and transforming with another refresh ...")
        other = refreshed_otherwise(config)
        jobs[OTHER] = other, prepare(other, folder / "other", other.sized_model.features)
    return {name: [_scored(*job, seed, say, name) for seed in seeds] for name, job in jobs.items()}


def without_past(config):
    """The same job whose ranker knows nothing of the past, and is otherwise the same.

    Args:
        config: `pipeline.config.Config` with a history.

    Returns:
        `pipeline.config.Config`; rows are still ingested with their history, which its model does not read.
    """
    past = {field.name for field in history_fields(config.data.history)}
    tree = config.model_dump()
    tree["model"]["features"] = [feature for feature in tree["model"]["features"] if feature["name"] not in past]
    return type(config).model_validate(tree)


def in_best_form(config):
    """A job without the past, with the user's embedding and the training that suit it best.

    Args:
        config: `pipeline.config.Config` from `without_past`.

    Returns:
        `pipeline.config.Config`.
    """
    tree = config.model_dump()
    if OWN_FEATURE["name"] not in {feature["name"] for feature in tree["model"]["features"]}:
        tree["model"]["features"] = [*tree["model"]["features"], OWN_FEATURE]
    tree["train"] |= OWN_TRAINING
    return type(config).model_validate(tree)


def refreshed_otherwise(config):
    """The same job with features refreshed at once if they are refreshed now and then, and once a day otherwise.

    Args:
        config: `pipeline.config.Config` with a history.

    Returns:
        `pipeline.config.Config`.
    """
    refresh_hours = 0.0 if config.data.history.refresh_hours else 24.0
    history = config.data.history.model_copy(update={"refresh_hours": refresh_hours})
    return config.model_copy(update={"data": config.data.model_copy(update={"history": history})})


def prepare(config, folder, features):
    """Ingests a job's logs and transforms the rows.

    Args:
        config: `pipeline.config.Config` with a schema file.
        folder: `pathlib.Path` for everything that is written.
        features: feature configurations to transform; those of the models that will be trained.

    Returns:
        `Prepared`.
    """
    check_source(config.data)
    uris = {name: str(folder / name) for name in (*config.data.split.names, "tables", "report", "spill")}
    for uri in uris.values():
        pathlib.Path(uri).mkdir(parents=True)
    split_uris = {split: uris[split] for split in config.data.split.names}
    run_ingestion(config.data, split_uris, uris["tables"], uris["report"], uris["spill"])
    model = config.model.model_copy(update={"features": tuple(features)})
    tft_output = _transform(model, config.job.schema_file, folder)
    batches, rows = _evaluation_rows(tft_output, folder / EVAL_SPLIT, model)
    return Prepared(tft_output, [str(folder / "transformed" / "*.gz")], batches, rows)


def _transform(model, schema_file, folder):
    """Fits the transform on the training rows and writes them transformed, as the pipeline's Transform does."""
    schema = _read_schema(model, schema_file)
    examples = TFExampleRecord([str(folder / TRAIN_SPLIT / "*.gz")], telemetry_descriptors=["benchmarks"], schema=schema)
    with (
        beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "spill")),
    ):
        rows = pipeline | examples.BeamSource()
        (transformed, _), transform_fn = (
            rows,
            examples.TensorAdapterConfig(),
        ) | tft_beam.AnalyzeAndTransformDataset(functools.partial(preprocess, config=model), output_record_batches=True)
        encoded = transformed | "Columns" >> beam.Keys() | "Encode" >> beam.FlatMap(packed_examples)
        encoded | beam.io.WriteToTFRecord(str(folder / "transformed" / "rows"), file_name_suffix=".gz", num_shards=4)
        transform_fn | tft_beam.WriteTransformFn(str(folder / "output"))
    raw_metadata = dataset_metadata.DatasetMetadata(schema)
    metadata_io.write_metadata(raw_metadata, str(folder / "output" / tft.TFTransformOutput.RAW_METADATA_DIR))
    return tft.TFTransformOutput(str(folder / "output"))


def _read_schema(model, schema_file):
    """Schema of the columns that the model reads; columns that are not parsed cost nothing."""
    read = {feature.name for feature in model.features}
    read |= {name for task in model.tasks for name in (task.label, mask_name(task.label))}
    schema = text_format.Parse((PROJECT / schema_file).read_text(encoding="utf-8"), schema_pb2.Schema())
    kept = [feature for feature in schema.feature if feature.name in read]
    del schema.feature[:]
    schema.feature.extend(kept)
    return schema


def _evaluation_rows(tft_output, folder, model):
    layer, spec = tft_output.transform_features_layer(), tft_output.raw_feature_spec()
    key_spec = {name: tf.io.FixedLenFeature([], tf.string, "") for name in ("user_id", "item_id", "day")}
    batches, keys = [], []
    files = sorted(str(path) for path in folder.glob("*.gz"))
    for serialized in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH_ROWS):
        batches.append(layer(tf.io.parse_example(serialized, spec)))
        keys.append(tf.io.parse_example(serialized, key_spec))
    rows = ScoredRows(
        keys={name: _column(keys, name) for name in key_spec},
        labels={task.label: _column(batches, task.label) for task in model.tasks},
        masks={task.label: _column(batches, mask_name(task.label)) for task in model.tasks},
        predictions={},
    )
    return batches, rows


def _column(batches, name):
    return np.concatenate([batch[name].numpy() for batch in batches])


def _scored(config, prepared, seed, say, name):
    say(f"Training {name}, seed {seed} ...")
    train = config.train.model_copy(update={"seed": seed})
    ranker = fit(config.sized_model, train, prepared.tft_output, prepared.train_files).ranker
    outputs = [ranker(batch) for batch in prepared.batches]
    return dataclasses.replace(prepared.rows, predictions={label: _column(outputs, label) for label in prepared.rows.labels})
