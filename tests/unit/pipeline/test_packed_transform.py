import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from google.protobuf import text_format
from tensorflow_transform.tf_metadata import schema_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils, standard_artifacts

from data.schema import mask_name
from models.config import ModelConfig
from models.packing import IDS, NUMBERS, packed_spec, unpack
from pipeline.components.packed_transform import Executor, PackedTransform

MODEL = ModelConfig(
    features=[
        {"kind": "categorical", "name": "item", "dimension": 2},
        {"kind": "numeric", "name": "age"},
        {"kind": "numeric", "name": "rates", "size": 2},
    ],
    tasks=[{"label": "click", "head": "binary"}],
    small_tower=None,
)
SPEC = {
    "item": tf.io.FixedLenFeature([], tf.string),
    "age": tf.io.FixedLenFeature([], tf.float32),
    "rates": tf.io.FixedLenFeature([2], tf.float32),
    "unread": tf.io.FixedLenFeature([], tf.string),
    "click": tf.io.FixedLenFeature([], tf.float32),
    mask_name("click"): tf.io.FixedLenFeature([], tf.float32),
}
ROWS = {
    "train": [("a", 1.0, [0.5, 1.5], 1.0), ("b", 3.0, [2.5, 3.5], 0.0), ("a", 5.0, [4.5, 5.5], 1.0)],
    "eval": [("b", 2.0, [1.5, 2.5], 1.0), ("never seen", 9.0, [-7.0, 99.0], 0.0)],
}


def example(item, age, rates, click):
    def floats(*values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def text(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    features = {"item": text(item), "unread": text("x"), "age": floats(age), "rates": floats(*rates), "click": floats(click)}
    features[mask_name("click")] = floats(1.0)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def artifact(kind, folder):
    made = kind()
    made.uri = str(folder)
    return made


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Folder of the transform graph, and of the transformed examples."""
    root = tmp_path_factory.mktemp("transform")
    examples = artifact(standard_artifacts.Examples, root / "examples")
    examples.split_names = artifact_utils.encode_split_names(list(ROWS))
    for split, rows in ROWS.items():
        folder = root / "examples" / f"Split-{split}"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "rows.gz"), options="GZIP") as writer:
            for row in rows:
                writer.write(example(*row))
    (root / "schema").mkdir()
    schema = text_format.MessageToString(schema_utils.schema_from_feature_spec(SPEC))
    (root / "schema" / "schema.pbtxt").write_text(schema, encoding="utf-8")
    transformed = artifact(standard_artifacts.Examples, root / "transformed")
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner"], tmp_dir=str(root / "tmp"), unique_id="1"
    )
    Executor(context).Do(
        {"examples": [examples], "schema": [artifact(standard_artifacts.Schema, root / "schema")]},
        {
            "transform_graph": [artifact(standard_artifacts.TransformGraph, root / "graph")],
            "transformed_examples": [transformed],
        },
        {
            "preprocessing_fn": "pipeline.transform_module.preprocessing_fn",
            "custom_config": json.dumps({"model": MODEL.model_dump_json()}),
            "disable_statistics": 1,
            "splits_config": json.dumps({"analyze": ["train"], "transform": list(ROWS)}),
        },
    )
    assert artifact_utils.decode_split_names(transformed.split_names) == list(ROWS)
    return root / "graph", root / "transformed"


def columns(outputs, split):
    """Transformed columns from the files, and the same rows through the served graph."""
    graph, transformed = outputs
    output = tft.TFTransformOutput(str(graph))
    spec = output.transformed_feature_spec()
    files = [str(path) for path in (transformed / f"Split-{split}").glob("*.gz")]
    records = list(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())
    assert set(tf.train.Example.FromString(records[0]).features.feature) == {IDS, NUMBERS}
    raw = tf.io.parse_example([example(*row) for row in ROWS[split]], {name: SPEC[name] for name in SPEC if name != "unread"})
    return unpack(tf.io.parse_example(records, packed_spec(spec)), spec), output.transform_features_layer()(raw)


@pytest.mark.parametrize("split", ROWS)
def test_the_files_hold_what_the_graph_gives(outputs, split):
    written, served = columns(outputs, split)
    assert set(written) == set(served) == {"item", "age", "rates", "click", mask_name("click")}
    order, other = np.argsort(written["age"]), np.argsort(served["age"])
    for name in written:
        np.testing.assert_array_equal(written[name].numpy()[order], served[name].numpy()[other])


def test_the_transform_is_fitted_on_the_analyzed_split(outputs):
    written, _ = columns(outputs, "eval")
    ages = sorted(written["age"].numpy())
    # Training ages 1, 3, 5: mean 3, deviation 1.633; 9 counts as 5.
    np.testing.assert_allclose(ages, [-1 / 1.63299, 2 / 1.63299], rtol=1e-4)
    assert sorted(written["item"].numpy()) == [1, 2]


def test_runs_under_the_name_that_transform_has():
    assert PackedTransform.EXECUTOR_SPEC.executor_class is Executor
