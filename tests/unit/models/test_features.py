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


def test_gives_features_labels_and_masks_as_vectors_and_nothing_else(transformed, model_config):
    spec = transformed.output.transformed_feature_spec()
    assert set(spec) == set(RAW_SPEC)
    assert not set(spec) & set(KEY_COLUMNS)
    assert all(feature.shape == [] for feature in spec.values())
    ids = {"user_id", "category", "tab", "fans"}
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
    mean, std = np.mean(ages[:NUM_TRAIN_ROWS]), np.std(ages[:NUM_TRAIN_ROWS])
    np.testing.assert_allclose(column(transformed, "age"), (ages - mean) / std, atol=1e-4)
    logs = np.array([math.log1p(row["duration_seconds"][0]) for row in transformed.raw_rows])
    expected = (logs - logs[:NUM_TRAIN_ROWS].mean()) / logs[:NUM_TRAIN_ROWS].std()
    np.testing.assert_allclose(column(transformed, "duration_seconds"), expected, atol=1e-4)


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


def test_labels_and_masks_pass_through(transformed):
    for name in ("click", "click_mask", "watch_seconds", "watch_seconds_mask", "satisfaction", "satisfaction_mask"):
        raw = np.array([row[name] for row in transformed.raw_rows], "f4")
        np.testing.assert_array_equal(column(transformed, name), raw)


def test_table_sizes_hold_every_id(transformed, model_config):
    sizes = table_sizes(model_config, transformed.output)
    assert set(sizes) == {"user_id", "category", "tab", "fans"}
    assert all(column(transformed, name).max() < size for name, size in sizes.items())
    assert sizes["category"] == 5
    assert sizes["fans"] == 4


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
