import dataclasses
import functools

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

from data.schema import LABELS, mask_name, weight_name
from models.config import ModelConfig
from models.features import preprocess
from models.inputs import table_sizes
from models.packing import packed_examples
from models.ranker import MultiTaskRanker
from models.train_config import TrainConfig

FEATURES = (
    {"kind": "categorical", "name": "user_id", "dimension": 4, "min_count": 3, "num_oov_buckets": 2},
    {"kind": "categorical", "name": "category", "dimension": 3, "default": "none"},
    {"kind": "categorical", "name": "tab", "dimension": 2},
    {"kind": "numeric", "name": "age", "default": 30.0},
    {"kind": "numeric", "name": "constant"},
    {"kind": "numeric", "name": "duration_seconds", "transform": "log"},
    {"kind": "numeric", "name": "fans", "transform": "bucket", "num_buckets": 4, "dimension": 2},
    {"kind": "sequence", "name": "last_categories", "shares": "category", "max_length": 3},
    {"kind": "sequence", "name": "last_items", "dimension": 3, "max_length": 4, "min_count": 25, "num_oov_buckets": 2},
    {"kind": "numeric", "name": "user_history"},
    {"kind": "numeric", "name": "item_history", "transform": "log", "size": 2, "default": 5.0},
    {"kind": "numeric", "name": "author_history", "transform": "bucket", "num_buckets": 3, "dimension": 2, "size": 2},
)
RAW_SPEC = {
    "user_id": tf.io.FixedLenFeature([], tf.string),
    "category": tf.io.VarLenFeature(tf.string),
    "tab": tf.io.VarLenFeature(tf.int64),
    "age": tf.io.VarLenFeature(tf.float32),
    "constant": tf.io.FixedLenFeature([], tf.float32),
    "duration_seconds": tf.io.FixedLenFeature([1], tf.float32),
    "fans": tf.io.FixedLenFeature([], tf.int64),
    "last_categories": tf.io.VarLenFeature(tf.string),
    "last_items": tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64),
    "user_history": tf.io.FixedLenFeature([3], tf.float32),
    "item_history": tf.io.VarLenFeature(tf.float32),
    "author_history": tf.io.VarLenFeature(tf.float32),
    weight_name("click"): tf.io.VarLenFeature(tf.float32),
} | {name: tf.io.FixedLenFeature([], tf.float32) for label in LABELS for name in (label, mask_name(label))}

MODEL = {"features": FEATURES, "body": {"kind": "shared_bottom", "units": (8, 6)}, "tower_units": (5,)}


@dataclasses.dataclass(frozen=True)
class Transformed:
    """Raw rows, the transform that was fitted on the first of them, and what it makes of all."""

    raw_rows: list
    rows: list
    output: tft.TFTransformOutput

    @property
    def batch(self):
        return {
            name: tf.constant(np.stack([row[name] for row in self.rows])) for name in self.output.transformed_feature_spec()
        }


def raw_rows(num_rows, seed, num_users):
    """Rows as instance dicts; a missing value of a column that rows may lack is an absent key."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(num_rows):
        fans = int(generator.integers(100))
        row = {
            "user_id": f"u{generator.integers(num_users)}",
            "constant": 0.1,
            "duration_seconds": [float(generator.exponential(30))],
            "fans": fans,
            "click": float(fans + generator.normal(0, 20) > 50),
            "watch_seconds": float(generator.exponential(10)),
            "satisfaction": float(generator.integers(2)),
            "click_mask": 1.0,
            "watch_seconds_mask": float(index % 3 != 0),
            "satisfaction_mask": float(index % 2),
            "user_history": [float(generator.normal(3, 2)), 0.25, float(generator.uniform(-1, 1))],
            "author_history": [float(generator.uniform(0, 1)), float(generator.uniform(50, 90))],
            "last_categories": [["music", "sport", "food"][entry] for entry in generator.integers(3, size=index % 6)],
            "last_items": [f"i{entry}" for entry in generator.integers(30, size=(index + 1) % 7)],
        }
        if index % 6:
            row["item_history"] = [float(generator.normal(0, 5)), float(generator.exponential(9))]
        if index % 10:
            row["click_weight"] = [float(generator.uniform(0.5, 2))]
        if index % 3:
            row["category"] = [["music", "sport", "food"][generator.integers(3)]]
        if index % 4:
            row["tab"] = [int(generator.integers(3))]
        if index % 5:
            row["age"] = [float(generator.normal(40, 10))]
        rows.append(row)
    return rows


def serialized_example(row, names=tuple(RAW_SPEC)):
    """tf.Example of the row's present columns among `names`."""
    feature = {}
    for name in names:
        if name not in row:
            continue
        values = row[name] if isinstance(row[name], list) else [row[name]]
        dtype = RAW_SPEC[name].dtype
        if dtype == tf.string:
            feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))
        elif dtype == tf.int64:
            feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            feature[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def transform(folder, config, raw_spec, train_rows, more_rows):
    """Fits the transform on `train_rows` and applies it to both."""
    train, more = ([{name: row.get(name, []) for name in raw_spec} for row in rows] for rows in (train_rows, more_rows))
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(raw_spec))
    with tft_beam.Context(temp_dir=str(folder / "tmp")):
        transform_fn = (train, metadata) | tft_beam.AnalyzeDataset(functools.partial(preprocess, config=config))
        rows, _ = ((train + more, metadata), transform_fn) | tft_beam.TransformDataset()
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "output"))
    metadata_io.write_metadata(metadata, str(folder / "output" / tft.TFTransformOutput.RAW_METADATA_DIR))
    return Transformed(train_rows + more_rows, rows, tft.TFTransformOutput(str(folder / "output")))


@pytest.fixture(scope="session")
def model_config():
    return ModelConfig(**MODEL)


@pytest.fixture(scope="session")
def transformed(tmp_path_factory, model_config):
    unseen = raw_rows(20, seed=1, num_users=1_000)
    unseen[0]["category"], unseen[0]["tab"] = ["never seen"], [77]
    return transform(tmp_path_factory.mktemp("tft"), model_config, RAW_SPEC, raw_rows(300, seed=0, num_users=100), unseen)


@pytest.fixture
def make_ranker(transformed):
    def make(config, seed=0):
        ranker = MultiTaskRanker(config, table_sizes(config, transformed.output), seed=seed)
        ranker.compute_loss(transformed.batch, training=True)
        return ranker

    return make


@pytest.fixture(scope="session")
def train_files(transformed, tmp_path_factory):
    """Glob of two gzipped TFRecord files of transformed, packed examples."""
    folder = tmp_path_factory.mktemp("examples")
    columns = {
        name: pa.array([np.array(row[name], feature.dtype.as_numpy_dtype, ndmin=1) for row in transformed.rows])
        for name, feature in transformed.output.transformed_feature_spec().items()
    }
    examples = packed_examples(pa.record_batch(list(columns.values()), list(columns)))
    for shard in range(2):
        with tf.io.TFRecordWriter(str(folder / f"rows-{shard}.gz"), options="GZIP") as writer:
            for example in examples[shard::2]:
                writer.write(example)
    return [str(folder / "*.gz")]


@pytest.fixture
def train_config():
    return TrainConfig(batch_size=64, shuffle_rows=500)
