"""A job's rows, ingested and transformed once for rankers of any kind, and rankers' scores of its evaluation rows."""

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
from data.ingest import check_source
from data.run import run_ingestion
from data.schema import EVAL_SPLIT, TRAIN_SPLIT, VALIDATION_SPLIT, mask_name
from models.features import preprocess
from models.packing import packed_examples
from models.training import fit
from pipeline.scoring import ScoredRows

_BATCH_ROWS = 4_096
_KEYS = ("user_id", "item_id", "day", "request_id")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Rows of one ingestion, transformed.

    Attributes:
        folder: `pathlib.Path` that holds the ingested rows by split.
        tft_output: `tft.TFTransformOutput`.
        files_by_split: dict from split to list of one glob of transformed rows: "train" and, where days are set aside,
            "validation".
        batches: evaluation rows, list of dicts of transformed columns.
        rows: `pipeline.scoring.ScoredRows` of them, without predictions.
    """

    folder: pathlib.Path
    tft_output: tft.TFTransformOutput
    files_by_split: dict
    batches: list
    rows: ScoredRows


@dataclasses.dataclass(frozen=True)
class Scored:
    """Evaluation rows as one trained ranker scores them.

    Attributes:
        served: `pipeline.scoring.ScoredRows`, calibrated where the ranker is.
        plain: the same without calibration.
        num_epochs: passes after which training ended.
    """

    served: ScoredRows
    plain: ScoredRows
    num_epochs: int


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
    splits = config.data.split.names
    uris = {name: str(folder / name) for name in (*splits, "tables", "report", "spill")}
    for uri in uris.values():
        pathlib.Path(uri).mkdir(parents=True)
    run_ingestion(config.data, {split: uris[split] for split in splits}, uris["tables"], uris["report"], uris["spill"])
    model = config.model.model_copy(update={"features": tuple(features)})
    trained = [split for split in splits if split != EVAL_SPLIT]
    analyzed = trained if config.train.refit else [TRAIN_SPLIT]
    tft_output = _transform(model, config.job.schema_file, folder, trained, analyzed)
    batches, rows = _evaluation_rows(tft_output, folder / EVAL_SPLIT, model)
    files_by_split = {split: [str(folder / "transformed" / split / "*.gz")] for split in trained}
    return Prepared(folder, tft_output, files_by_split, batches, rows)


def train_and_score(config, prepared, seed):
    """Trains a ranker and scores the evaluation rows.

    Args:
        config: `pipeline.config.Config`, whose features are among those of the preparation.
        prepared: `Prepared`.
        seed: of the training.

    Returns:
        `Scored`.
    """
    return score(train(config, prepared, seed), prepared)


def train(config, prepared, seed):
    """Trains a ranker.

    Args:
        config: `pipeline.config.Config`, whose features are among those of the preparation.
        prepared: `Prepared`.
        seed: of the training.

    Returns:
        `models.training.Fitted`.
    """
    settings = config.train.model_copy(update={"seed": seed})
    train_files, validation_files = (prepared.files_by_split.get(split, ()) for split in (TRAIN_SPLIT, VALIDATION_SPLIT))
    return fit(config.trained_model, settings, prepared.tft_output, train_files, validation_files)


def score(fitted, prepared):
    """Evaluation rows as a trained ranker scores them.

    Args:
        fitted: `models.training.Fitted`.
        prepared: `Prepared` by the transform that the ranker was trained with.

    Returns:
        `Scored`.
    """
    rows = prepared.rows
    predict_fn = tf.function(fitted.ranker, autograph=False, reduce_retracing=True)
    outputs = [predict_fn(batch, training=False) for batch in prepared.batches]
    plain = {label: _column(outputs, label) for label in rows.labels}
    served = {
        label: fitted.calibrators[label](each).numpy() if label in fitted.calibrators else each for label, each in plain.items()
    }
    return Scored(
        dataclasses.replace(rows, predictions=served),
        dataclasses.replace(rows, predictions=plain),
        fitted.history.training.best_epoch,
    )


def with_evaluation_rows(prepared, other, model):
    """Rows to train on as they are, and the evaluation rows of another ingestion of the same logs, equally transformed.

    Args:
        prepared: `Prepared`.
        other: `Prepared` from the other ingestion.
        model: `ModelConfig` of the job.

    Returns:
        `Prepared`.
    """
    batches, rows = _evaluation_rows(prepared.tft_output, other.folder / EVAL_SPLIT, model)
    return dataclasses.replace(prepared, batches=batches, rows=rows)


def _transform(model, schema_file, folder, splits, analyzed):
    """Fits the transform on the rows of some splits and writes all transformed, as the pipeline's Transform does."""
    schema = _read_schema(model, schema_file)
    globs = {split: str(folder / split / "*.gz") for split in splits}
    every = TFExampleRecord([globs[split] for split in analyzed], telemetry_descriptors=["benchmarks"], schema=schema)
    with (
        beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "spill")),
    ):
        rows = pipeline | "ReadAnalyzed" >> every.BeamSource()
        transform_fn = (rows, every.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
            functools.partial(preprocess, config=model)
        )
        for split, glob in globs.items():
            examples = TFExampleRecord([glob], telemetry_descriptors=["benchmarks"], schema=schema)
            part = pipeline | f"Read[{split}]" >> examples.BeamSource()
            transformed, _ = ((part, examples.TensorAdapterConfig()), transform_fn) | f"Transform[{split}]" >> (
                tft_beam.TransformDataset(output_record_batches=True)
            )
            packed = transformed | f"Columns[{split}]" >> beam.Keys() | f"Pack[{split}]" >> beam.FlatMap(packed_examples)
            target = str(folder / "transformed" / split / "rows")
            packed | f"Write[{split}]" >> beam.io.WriteToTFRecord(target, file_name_suffix=".gz", num_shards=4)
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
    key_spec = {name: tf.io.FixedLenFeature([], tf.string, "") for name in _KEYS}
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
