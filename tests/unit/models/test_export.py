import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data.schema import KEY_COLUMNS, LABELS, mask_name
from models.calibration import PlattCalibrator
from models.config import ModelConfig
from models.errors import ExportError
from models.export import export
from models.inputs import table_sizes
from models.ranker import MultiTaskRanker
from models.signatures import EXAMPLES as SIGNATURE
from models.signatures import ServedColumns, examples_spec
from tests.unit.models.conftest import FEATURES, MODEL, RAW_SPEC, serialized_example, transform

NAMES = tuple(feature["name"] for feature in FEATURES)

FRESH_PROCESS = """
import json, sys
import numpy as np
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
examples = [bytes.fromhex(line) for line in open(sys.argv[2])]
print(json.dumps({name: values.numpy().tolist() for name, values in served(tf.constant(examples)).items()}))
assert not {"tf_keras", "tensorflow_transform"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def ranker(transformed, model_config):
    """Untrained, with outputs spread far enough that every feature shows in them, and with dropout to be left behind."""
    config = model_config.model_copy(update={"dropout": 0.5})
    ranker = MultiTaskRanker(config, table_sizes(config, transformed.output), seed=0)
    ranker.compute_loss(transformed.batch, training=True)
    generator = np.random.default_rng(0)
    for variable in ranker.trainable_variables:
        variable.assign(generator.normal(0, 0.7, variable.shape))
    return ranker


@pytest.fixture(scope="module")
def folder(ranker, transformed, tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "1"
    export(ranker, transformed.output, str(path))
    return path


@pytest.fixture(scope="module")
def served(folder):
    return tf.saved_model.load(str(folder)).signatures[SIGNATURE]


def requests(transformed):
    return [serialized_example(row, NAMES) for row in transformed.raw_rows]


def test_served_scores_are_the_training_time_scores(ranker, served, transformed):
    """The same raw rows, missing columns and unseen values among them, through the Beam transform and the signature."""
    expected = ranker(transformed.batch)
    scores = served(tf.constant(requests(transformed)))
    for label in LABELS:
        np.testing.assert_allclose(scores[label], expected[label], rtol=1e-6, atol=1e-6)
        assert scores[label].dtype == tf.float32
        assert np.ptp(scores[label]) > 0.01


def test_signature(served):
    assert served.structured_input_signature == ((), {"examples": tf.TensorSpec([None], tf.string, name="examples")})
    assert {name: output.shape.as_list() for name, output in served.structured_outputs.items()} == {
        label: [None] for label in LABELS
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_column_takes_its_default(name, served, transformed):
    row = {
        "user_id": transformed.output.vocabulary_by_name("user_id")[0].decode(),
        "category": ["music"],
        "tab": [1],
        "age": [50.0],
        "constant": 0.1,
        "duration_seconds": [9.0],
        "fans": 80,
        "last_categories": ["sport"],
        "last_items": [transformed.output.vocabulary_by_name("last_items")[0].decode()],
        "user_history": [9.0, 0.25, -0.5],
        "item_history": [1.0, 40.0],
        "author_history": [0.9, 51.0],
    }
    default = {
        "user_id": "",
        "category": ["none"],
        "tab": [-(2**63)],
        "age": [30.0],
        "constant": 0.0,
        "duration_seconds": [0.0],
        "fans": 0,
        "last_categories": [],
        "last_items": [],
        "user_history": [0.0, 0.0, 0.0],
        "item_history": [5.0, 5.0],
        "author_history": [0.0, 0.0],
    }
    without = {key: value for key, value in row.items() if key != name}
    scores = served(tf.constant([serialized_example(one) for one in (without, row | {name: default[name]}, row)]))["click"]
    assert scores[0] == scores[1]
    if name != "constant":
        assert scores[0] != scores[2]


def test_an_empty_example_and_an_empty_batch_are_served(served):
    assert all(np.isfinite(score).all() for score in served(tf.constant([b""])).values())
    assert all(score.shape == [0] for score in served(tf.constant([], tf.string)).values())


def test_unknown_categories_share_the_out_of_vocabulary_rows(served):
    rows = [{"user_id": "u1", "category": [category], "tab": [1]} for category in ("never", "seen", "music")]
    scores = served(tf.constant([serialized_example(row) for row in rows]))["click"]
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_of_the_wrong_type_is_named(name, served):
    wrong = (
        tf.train.Feature(float_list=tf.train.FloatList(value=[1.0]))
        if RAW_SPEC[name].dtype == tf.string
        else tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"1"]))
    )
    example = tf.train.Example(features=tf.train.Features(feature={name: wrong})).SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"Key: {name}.*Data types don't match"):
        served(tf.constant([example]))


@pytest.mark.parametrize("name", ["tab", "fans"])
def test_two_values_in_a_feature_are_refused_by_name(name, served):
    two = tf.train.Feature(int64_list=tf.train.Int64List(value=[1, 2]))
    example = tf.train.Example(features=tf.train.Features(feature={name: two})).SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"Key: {name}|feature {name} must hold at most one value"):
        served(tf.constant([example]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("item_history", "feature item_history must hold 2 values or none"),
        ("author_history", "feature author_history must hold 2 values or none"),
        ("user_history", "Key: user_history.*Number of float values"),
    ],
)
@pytest.mark.parametrize("length", [1, 4])
def test_vectors_of_another_length_are_refused_by_name(name, message, length, served):
    numbers = tf.train.Feature(float_list=tf.train.FloatList(value=[0.5] * length))
    example = tf.train.Example(features=tf.train.Features(feature={name: numbers})).SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served(tf.constant([example]))


def test_sequences_are_read_up_to_their_length(served):
    rows = [["music", "sport", "food"], ["music", "sport", "food", "none"], ["food", "sport", "music"], ["music", "sport"]]
    scores = served(tf.constant([serialized_example({"last_categories": row}) for row in rows]))["click"].numpy()
    assert scores[0] == scores[1]
    assert scores[0] == pytest.approx(scores[2], abs=1e-6)
    assert scores[0] != pytest.approx(scores[3], abs=1e-6)


def test_sequences_that_all_had_one_length_in_training_are_served_at_any(tmp_path):
    """Data that declare a shape reach the transform dense, requests do not."""
    config = ModelConfig(
        features=[{"kind": "sequence", "name": "last_items", "dimension": 2, "max_length": 2}],
        tasks=[{"label": "click", "head": "binary"}],
    )
    rows = [{"last_items": [f"i{index}", "i0"], "click": 1.0, "click_mask": 1.0} for index in range(4)]
    short = [{"last_items": row, "click": 1.0, "click_mask": 1.0} for row in (["i3", ""], ["", ""], ["i3", "i1"])]
    spec = {"last_items": tf.io.FixedLenFeature([2], tf.string)}
    fitted = transform(tmp_path, config, spec | {name: RAW_SPEC[name] for name in ("click", "click_mask")}, rows, short)
    ranker = MultiTaskRanker(config, table_sizes(config, fitted.output))
    expected = ranker(fitted.batch)["click"][4:]
    export(ranker, fitted.output, str(tmp_path / "1"))
    served = tf.saved_model.load(str(tmp_path / "1")).signatures[SIGNATURE]
    requested = [serialized_example({"last_items": row}) for row in (["i3"], [], ["i3", "i1", "i2"])]
    np.testing.assert_allclose(served(tf.constant(requested))["click"], expected, rtol=1e-6)
    assert len(set(expected.numpy())) == 3


def test_labels_masks_and_keys_are_not_read(ranker, served, transformed):
    spec = examples_spec(ServedColumns(ranker, transformed.output))
    assert set(spec) == set(NAMES)
    assert not set(spec) & {*LABELS, *map(mask_name, LABELS), *KEY_COLUMNS}
    row = transformed.raw_rows[0]
    flipped = row | {"click": 1 - row["click"], "watch_seconds": 900.0}
    scores = served(tf.constant([serialized_example(one) for one in (row, flipped)]))
    assert all(score[0] == score[1] for score in scores.values())


def variables_bytes(folder):
    return sum(path.stat().st_size for path in Path(folder, "variables").iterdir())


def test_small_towers_leave_no_trace(ranker, folder, served, transformed, tmp_path):
    without = MultiTaskRanker(ModelConfig(**MODEL, small_tower=None), table_sizes(ranker.config, transformed.output), seed=5)
    without.compute_loss(transformed.batch)
    for variable, value in zip(without.served_variables, ranker.served_variables, strict=True):
        variable.assign(value)
    export(without, transformed.output, str(tmp_path / "1"))
    plain = tf.saved_model.load(str(tmp_path / "1"))
    both = [[(v.name, v.shape) for v in model.model_variables] for model in (plain, tf.saved_model.load(str(folder)))]
    assert both[0] == both[1]
    stored = [tf.train.list_variables(str(path / "variables" / "variables")) for path in (folder, tmp_path / "1")]
    assert stored[0] == stored[1]
    assert not any("small" in name for name, _ in stored[0])
    assert len(stored[0]) == len(ranker.served_variables) + 1
    assert variables_bytes(folder) == variables_bytes(tmp_path / "1")
    scores = [model(tf.constant(requests(transformed))) for model in (served, plain.signatures[SIGNATURE])]
    for label in LABELS:
        np.testing.assert_array_equal(scores[0][label], scores[1][label])


def test_serves_in_a_fresh_process_without_keras_or_the_transform_output(ranker, model_config, transformed, tmp_path):
    """The artifact alone, moved: vocabularies come along and are initialised."""
    copy = tmp_path / "tft"
    shutil.copytree(transformed.output.transform_savedmodel_dir, copy / "transform_fn")
    for name in ("transformed_metadata", "metadata"):
        shutil.copytree(Path(transformed.output.transform_savedmodel_dir).parent / name, copy / name)
    export(ranker, type(transformed.output)(str(copy)), str(tmp_path / "here"))
    shutil.rmtree(copy)
    shutil.move(tmp_path / "here", tmp_path / "there")
    (tmp_path / "requests").write_text("\n".join(example.hex() for example in requests(transformed)))
    command = [sys.executable, "-c", FRESH_PROCESS, str(tmp_path / "there"), str(tmp_path / "requests")]
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads(done.stdout)
    expected = ranker(transformed.batch)
    for label in LABELS:
        np.testing.assert_allclose(scores[label], expected[label], rtol=1e-6, atol=1e-6)


def test_an_empty_vocabulary_is_served(tmp_path):
    """`min_count` above every count leaves out-of-vocabulary rows alone."""
    config = ModelConfig(
        features=[{"kind": "categorical", "name": "user_id", "min_count": 1_000}],
        tasks=[{"label": "click", "head": "binary"}],
    )
    rows = [{"user_id": f"u{index}", "click": 1.0, "click_mask": 1.0} for index in range(10)]
    fitted = transform(tmp_path, config, {name: RAW_SPEC[name] for name in rows[0]}, rows, rows)
    sizes = table_sizes(config, fitted.output)
    assert max(row["user_id"] for row in fitted.rows) < sizes["user_id"]
    ranker = MultiTaskRanker(config, sizes)
    ranker(fitted.batch)
    export(ranker, fitted.output, str(tmp_path / "1"))
    served = tf.saved_model.load(str(tmp_path / "1")).signatures[SIGNATURE]
    np.testing.assert_allclose(served(tf.constant([b""]))["click"][0], ranker(fitted.batch)["click"][0], atol=1e-6)


def test_refuses_what_cannot_be_served(ranker, transformed, model_config, tmp_path):
    unbuilt = MultiTaskRanker(model_config, table_sizes(model_config, transformed.output))
    with pytest.raises(ExportError, match="ranker must have been called on a batch before it is exported"):
        export(unbuilt, transformed.output, str(tmp_path / "1"))
    with pytest.raises(ExportError, match=r"calibrators must be of tasks, of \['click', .*\]. Received: like"):
        export(ranker, transformed.output, str(tmp_path / "1"), {"like": PlattCalibrator(1.0, 0.0)})
    unread = types.SimpleNamespace(raw_feature_spec=dict)
    with pytest.raises(ExportError, match=r"features.user_id must be dense or of variable length. Received: None"):
        ServedColumns(ranker, unread)
