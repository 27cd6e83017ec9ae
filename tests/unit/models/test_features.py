import math

import numpy as np
import pytest
import tensorflow as tf

from data.schema import KEY_COLUMNS
from models.config import ModelConfig
from models.errors import FeatureError
from models.features import MISSING_INTEGER, missing_value, preprocess
from models.inputs import table_sizes
from tests.unit.models.conftest import RAW_SPEC

NUM_TRAIN_ROWS = 300


def column(transformed, name):
    return np.array([row[name] for row in transformed.rows])


def clipped_zscores(numbers):
    """Of every row, from the training rows' range, mean and deviation."""
    train = numbers[:NUM_TRAIN_ROWS]
    std = train.std(axis=0)
    clipped = np.clip(numbers, train.min(axis=0), train.max(axis=0))
    return np.where(std > 1e-9, (clipped - train.mean(axis=0)) / np.where(std > 1e-9, std, 1), 0)


def test_gives_features_labels_and_masks_and_nothing_else(transformed, model_config):
    spec = transformed.output.transformed_feature_spec()
    assert set(spec) == set(RAW_SPEC) - {"click_weight"}
    assert not set(spec) & set(KEY_COLUMNS)
    shapes = {"last_categories": [3], "last_items": [4], "user_history": [3], "item_history": [2], "author_history": [2]}
    assert {name: feature.shape for name, feature in spec.items()} == {name: [] for name in spec} | shapes
    ids = {"user_id", "category", "tab", "fans", "last_categories", "last_items", "author_history"}
    assert all(spec[name].dtype == (tf.int64 if name in ids else tf.float32) for name in spec)


def test_vocabulary_ids(transformed, model_config):
    train_users = [row["user_id"] for row in transformed.raw_rows[:NUM_TRAIN_ROWS]]
    known = {user for user in train_users if train_users.count(user) >= 3}
    vocabulary = [entry.decode() for entry in transformed.output.vocabulary_by_name("user_id")]
    assert set(vocabulary) == known
    assert known != set(train_users)
    ids = column(transformed, "user_id")
    for row, id_ in zip(transformed.raw_rows, ids, strict=True):
        if row["user_id"] in known:
            assert vocabulary[id_] == row["user_id"]
        else:
            assert len(known) <= id_ < len(known) + 2
    assert set(ids[ids >= len(known)]) == {len(known), len(known) + 1}


def test_missing_categories_take_the_default(transformed):
    categories = [entry.decode() for entry in transformed.output.vocabulary_by_name("category")]
    tabs = [int(entry) for entry in transformed.output.vocabulary_by_name("tab")]
    assert set(categories) == {"music", "sport", "food", "none"}
    assert set(tabs) == {0, 1, 2, MISSING_INTEGER}
    for row, category, tab in zip(
        transformed.raw_rows, column(transformed, "category"), column(transformed, "tab"), strict=True
    ):
        value = row.get("category", ["none"])[0]
        assert category == (categories.index(value) if value in categories else len(categories))
        value = row.get("tab", [MISSING_INTEGER])[0]
        assert tab == (tabs.index(value) if value in tabs else len(tabs))


def test_numbers(transformed):
    ages = np.array([row.get("age", [30.0])[0] for row in transformed.raw_rows])
    np.testing.assert_allclose(column(transformed, "age"), clipped_zscores(ages), atol=1e-4)
    logs = np.array([math.log1p(row["duration_seconds"][0]) for row in transformed.raw_rows])
    np.testing.assert_allclose(column(transformed, "duration_seconds"), clipped_zscores(logs), atol=1e-4)


def test_a_constant_number_gives_zero(transformed):
    np.testing.assert_array_equal(column(transformed, "constant"), 0.0)
    served = transformed.output.transform_features_layer()({"constant": tf.constant([5.0])})
    assert served["constant"].numpy().tolist() == [0.0]


def test_quantile_buckets(transformed):
    fans = np.array([row["fans"] for row in transformed.raw_rows])
    buckets = column(transformed, "fans")
    assert set(buckets) == {0, 1, 2, 3}
    for fan, bucket in zip(fans, buckets, strict=True):
        rank = np.mean(fans[:NUM_TRAIN_ROWS] <= fan)
        assert bucket / 4 - 0.04 <= rank <= (bucket + 1) / 4 + 0.04


def test_vectors_are_standardised_entry_by_entry(transformed):
    user = np.array([row["user_history"] for row in transformed.raw_rows])
    logs = np.array([row.get("item_history", [5.0, 5.0]) for row in transformed.raw_rows])
    logs = np.log1p(np.maximum(logs, 0))
    for name, numbers in (("user_history", user), ("item_history", logs)):
        np.testing.assert_allclose(column(transformed, name), clipped_zscores(numbers), atol=1e-4)
    assert not column(transformed, "user_history")[:, 1].any()


def test_vectors_have_quantile_buckets_for_each_entry(transformed):
    numbers = np.array([row["author_history"] for row in transformed.raw_rows])
    buckets = column(transformed, "author_history")
    for entry in range(2):
        assert set(buckets[:, entry]) == {0, 1, 2}
        ranks = (numbers[:NUM_TRAIN_ROWS, entry] <= numbers[:, entry, None]).mean(axis=1)
        assert (buckets[:, entry] / 3 - 0.04 <= ranks).all()
        assert (ranks <= (buckets[:, entry] + 1) / 3 + 0.04).all()


def test_a_row_of_numbers_that_are_none_holds_the_default(transformed):
    served = transformed.output.transform_features_layer()({"user_history": tf.constant([[np.nan, 0.25, np.inf]])})
    zeros = transformed.output.transform_features_layer()({"user_history": tf.constant([[0.0, 0.25, 0.0]])})
    np.testing.assert_array_equal(served["user_history"], zeros["user_history"])


@pytest.mark.parametrize(
    ("name", "table", "length", "num_oov"),
    [
        ("last_categories", "category", 3, 1),
        ("last_items", "last_items", 4, 2),
    ],
)
def test_sequences_are_ids_of_the_newest_entries(transformed, name, table, length, num_oov):
    vocabulary = [entry.decode() for entry in transformed.output.vocabulary_by_name(table)]
    num_unknown = 0
    for row, ids in zip(transformed.raw_rows, column(transformed, name), strict=True):
        entries = row[name][:length]
        assert ids[len(entries) :].tolist() == [0] * (length - len(entries))
        for entry, id_ in zip(entries, ids, strict=False):
            if entry in vocabulary:
                assert id_ == 1 + vocabulary.index(entry)
            else:
                num_unknown += 1
                assert len(vocabulary) < id_ <= len(vocabulary) + num_oov
    assert (num_unknown > 0) == (table == "last_items")


def test_the_vocabulary_of_a_sequence_counts_the_entries_that_are_read(transformed):
    entries = [entry for row in transformed.raw_rows[:NUM_TRAIN_ROWS] for entry in row["last_items"][:4]]
    vocabulary = {entry.decode() for entry in transformed.output.vocabulary_by_name("last_items")}
    assert vocabulary == {entry for entry in entries if entries.count(entry) >= 25}
    assert vocabulary < set(entries)


def test_labels_and_masks_pass_through(transformed):
    for name in ("click", "watch_seconds", "watch_seconds_mask", "satisfaction", "satisfaction_mask"):
        raw = np.array([row[name] for row in transformed.raw_rows], "f4")
        np.testing.assert_array_equal(column(transformed, name), raw)


def test_a_mask_is_multiplied_by_the_weight_of_its_label(transformed):
    raw = np.array([row["click_mask"] * row.get("click_weight", [1.0])[0] for row in transformed.raw_rows], "f4")
    assert len(set(raw)) > 100
    np.testing.assert_array_equal(column(transformed, "click_mask"), raw)


def test_table_sizes_hold_every_id(transformed, model_config):
    sizes = table_sizes(model_config, transformed.output)
    assert set(sizes) == {"user_id", "category", "tab", "fans", "last_items", "author_history"}
    assert all(column(transformed, name).max() < sizes[name] for name in ("user_id", "category", "tab", "fans"))
    assert column(transformed, "last_items").max() <= sizes["last_items"]
    assert sizes["category"] == 5
    assert (sizes["fans"], sizes["author_history"]) == (4, 6)


def feature(**fields):
    return ModelConfig(features=[fields]).features[0]


@pytest.mark.parametrize(
    ("fields", "dtype", "expected"),
    [
        ({"kind": "categorical", "name": "x"}, tf.string, ""),
        ({"kind": "categorical", "name": "x", "default": 7}, tf.string, "7"),
        ({"kind": "categorical", "name": "x", "default": 7}, tf.int64, 7),
        ({"kind": "categorical", "name": "x"}, tf.int64, MISSING_INTEGER),
        ({"kind": "numeric", "name": "x", "default": 2.0}, tf.int64, 2),
        ({"kind": "numeric", "name": "x", "default": 2.5}, tf.float32, 2.5),
    ],
)
def test_missing_values_have_the_type_of_the_column(fields, dtype, expected):
    value = missing_value(feature(**fields), dtype)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("fields", "dtype", "message"),
    [
        ({"kind": "categorical"}, tf.float32, "features.x must name a column of strings or integers.*float32"),
        ({"kind": "categorical", "default": "a"}, tf.int64, "features.x.default must be an integer.*'a'"),
        ({"kind": "numeric"}, tf.string, "features.x must name a column of numbers.*string"),
        ({"kind": "numeric", "default": 0.5}, tf.int64, "features.x.default must be whole.*0.5"),
    ],
)
def test_refuses_columns_that_do_not_suit(fields, dtype, message):
    with pytest.raises(FeatureError, match=message):
        missing_value(feature(name="x", **fields), dtype)


def test_refuses_an_absent_column(model_config):
    with pytest.raises(FeatureError, match=r"must name columns of the data \(click\). Received: user_id"):
        preprocess({"click": tf.constant([1.0])}, model_config)


def test_refuses_an_absent_column_that_a_sequence_shares():
    sequence = {"kind": "sequence", "name": "last", "shares": "x"}
    config = ModelConfig(features=[sequence, {"kind": "categorical", "name": "x"}])
    with pytest.raises(FeatureError, match=r"must name columns of the data \(last\). Received: x"):
        preprocess({"last": tf.constant([["a"]])}, config)


SEQUENCE = {"kind": "sequence", "name": "last", "dimension": 2}


@pytest.mark.parametrize(
    ("features", "inputs", "message"),
    [
        (
            [{"kind": "numeric", "name": "x", "size": 3}],
            {"x": tf.zeros([2, 4])},
            r"features.x must have 3 values a row. Received: 4 in the data",
        ),
        (
            [{"kind": "categorical", "name": "x"}],
            {"x": tf.constant([["a", "b"]])},
            r"features.x must have 1 value a row. Received: 2 in the data",
        ),
        (
            [SEQUENCE],
            {"last": tf.zeros([2, 4])},
            "features.last must name a column of strings, as its kind is sequence.*float32",
        ),
        (
            [{"kind": "categorical", "name": "x"}, {**SEQUENCE, "dimension": 8, "shares": "x"}],
            {"x": tf.constant([1], tf.int64), "last": tf.constant([["a"]])},
            r"features.last.shares must name a column of strings, as last holds strings. Received: x \(int64\)",
        ),
    ],
)
def test_refuses_columns_of_another_size_or_kind(features, inputs, message):
    config = ModelConfig(features=features)
    values = {name: column.numpy() for name, column in inputs.items()}
    with tf.Graph().as_default():
        columns = {name: tf.constant(value) for name, value in values.items()}
        with pytest.raises(FeatureError, match=message):
            preprocess(columns, config)
